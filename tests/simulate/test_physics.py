"""Two days of the real model: budgets, the sun, the hydrostatic law, resuming, twins. Needs the extra `simulate`."""

import dataclasses
import datetime as dt
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
pytest.importorskip("jcm", reason="needs the extra 'simulate'")

from tools.simulate.atmosphere import Atmosphere
from tools.simulate.levels import R_DRY, relative_humidity
from tools.simulate.run import restore, save
from tools.simulate.world import Haze, Sea, World

FIRST = dt.date(1985, 6, 20)
WORLD = World("t", "t", dt.date(1986, 1, 1), 1, spinup_days=195, truncation=21)


@pytest.fixture(scope="module")
def days():
    """The model after its start, and outputs and monitors of its second and third day: the first throws the atmosphere about."""
    atmosphere = Atmosphere.build(WORLD)
    day = WORLD.first_day
    assert day == FIRST
    results = []
    for _ in range(3):
        atmosphere.before_the_last_day = atmosphere.carry
        results.append(atmosphere.advance_a_day(day))
        day += dt.timedelta(days=1)
    return atmosphere, results


def mean(atmosphere, x):
    """Global mean of (..., lon, lat) with the weights of the Gaussian grid."""
    w = np.polynomial.legendre.leggauss(len(atmosphere.latitude))[1] / 2
    return (x.mean(axis=-2) * w).sum(axis=-1)


def test_everything_is_finite_and_within_physical_bounds(days):
    _, results = days
    for out, _ in results:
        for name, x in out.items():
            assert np.isfinite(x).all(), name
        assert 180 < out["2m_temperature"].min() < out["2m_temperature"].max() < 335
        assert out["total_precipitation_6hr"].min() >= 0
        assert out["specific_humidity_850"].min() >= 0


def test_mass_is_kept(days):
    """Dry air comes from nowhere: the mean surface pressure changes by less than 3 parts in 10,000 a day."""
    _, results = days
    p = [monitor["surface_pressure"] for _, monitor in results]
    assert np.abs(np.diff(p)).max() / p[0] < 3e-4


def test_water_is_kept(days):
    """What evaporates less what rains is what the air gains, to within 0.2 mm a day (a typical rain: 2.7)."""
    _, results = days
    (_, before), (_, after) = results[1:]
    gained = after["column_water"] - before["column_water"]  # kg m-2, that is mm
    evaporated = after["latent_heat_flux"] / 2.501e6 * 86400
    rained = 4 * after["total_precipitation_6hr"] * 1000
    assert gained == pytest.approx(evaporated - rained, abs=0.2)


def test_energy_is_kept(days):
    """Radiation at the top less the flux into the ground is what the air gains, to within 15 W m-2 (sunlight: about 340)."""
    _, results = days
    (_, before), (_, after) = results[1:]
    gained = (after["column_energy"] - before["column_energy"]) / 86400
    came = after["top_net_solar_radiation"] - after["outgoing_longwave_radiation"] - after["surface_heat_flux"]
    assert gained == pytest.approx(came, abs=15.0)


def test_the_sun_rises_over_land_only_in_temperature(days):
    atmosphere, results = days
    out = results[-1][0]
    swing = np.ptp(out["2m_temperature"], axis=0)
    warm = np.abs(atmosphere.latitude)[None, :] < 60
    land, sea = warm & (atmosphere.land_fraction > 0.95), warm & (atmosphere.land_fraction < 0.05)
    assert np.median(swing[land]) > 2 * np.median(swing[sea])
    sun = out["toa_incident_solar_radiation"]
    winter = (atmosphere.latitude > -60) & (
        atmosphere.latitude < -35
    )  # nights of fourteen hours and more hold a window of six
    assert sun[:, :, winter].min(axis=0).max() < 1e-3
    # Daily totals stay those of geometry at the solstice: S/pi (h sin(lat) sin(dec) + cos(lat) cos(dec) sin(h)).
    dec = np.deg2rad(23.44)
    lat = np.deg2rad(atmosphere.latitude)
    h = np.arccos(np.clip(-np.tan(lat) * np.tan(dec), -1, 1))
    expected = 1361 * 0.967 / np.pi * (h * np.sin(lat) * np.sin(dec) + np.cos(lat) * np.cos(dec) * np.sin(h))
    got = sun.mean(axis=(0, 1))
    assert np.abs(got - expected).max() < 0.06 * expected.max()


def test_without_a_diurnal_cycle_the_sun_stands_still():
    still = dataclasses.replace(WORLD, sun=dataclasses.replace(WORLD.sun, diurnal_cycle=False))
    out, _ = Atmosphere.build(still).advance_a_day(FIRST)
    sun = out["toa_incident_solar_radiation"]
    assert np.ptp(sun, axis=1).max() < 0.01 * sun.max()  # the same all round each circle of latitude


def test_heights_and_temperatures_are_hydrostatic(days):
    """Over the sea the thickness of 850 to 500 hPa is R ln(850/500) times the mean virtual temperature between, to within 0.5 %."""
    atmosphere, results = days
    out = results[-1][0]
    levels = [850, 700, 600, 500]
    x = -np.log(np.array(levels))
    virtual = np.stack([out[f"temperature_{p}"] * (1 + 0.608 * out[f"specific_humidity_{p}"]) for p in levels])
    thickness = out["geopotential_500"] - out["geopotential_850"]
    expected = R_DRY * np.trapezoid(virtual, x, axis=0)
    sea = np.broadcast_to(atmosphere.land_fraction < 0.05, thickness.shape)
    assert np.abs(thickness[sea] / expected[sea] - 1).max() < 0.005


def test_relative_humidity_by_hand():
    # Bolton at 20 degrees: 23.37 hPa. Half of that at 1000 hPa is q = 0.622 e / (p - 0.378 e) = 7.30 g/kg.
    e = 0.5 * 23.37
    q = 0.622 * e / (1000 - 0.378 * e)
    assert q == pytest.approx(7.30e-3, rel=1e-3)
    assert float(relative_humidity(q, 293.15, 1000)) == pytest.approx(50.0, rel=1e-3)
    assert float(relative_humidity(3 * q, 293.15, 1000)) == 100.0


Q_FLUX = np.full((12, 64, 32), 3.0, "float32")
SLAB = dataclasses.replace(WORLD, sea=Sea(anomalies="none", slab=True, q_flux="control"))


@pytest.fixture(scope="module")
def slab():
    return Atmosphere.build(SLAB, Q_FLUX)


def test_a_run_stopped_and_resumed_equals_the_unbroken_one(tmp_path, slab):
    slab.advance_a_day(FIRST)
    second = FIRST + dt.timedelta(days=1)
    save(slab, second, tmp_path / "state.npz")
    expected, monitor = slab.advance_a_day(second)
    resumed = Atmosphere.build(SLAB, Q_FLUX)
    assert restore(resumed, tmp_path / "state.npz") == second
    got, same = resumed.advance_a_day(second)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values, err_msg=name)
    np.testing.assert_array_equal(resumed.carry[-1][1], slab.carry[-1][1])
    assert same == monitor


def test_a_state_of_another_recipe_is_refused(tmp_path, days, slab):
    save(days[0], FIRST, tmp_path / "state.npz")
    with pytest.raises(ValueError, match="another recipe made it"):
        restore(slab, tmp_path / "state.npz")


def test_the_slab_of_sea_answers_its_flux(slab):
    """With a q-flux of 100 W m-2 more, open water is cooler after a day by 100 · 86400 / 8.4e7 = 0.103 K, and ice and land are not."""
    begin, seas = slab.carry, []
    for extra in (0.0, 100.0):
        slab.carry, slab._q_flux = begin, Q_FLUX + np.float32(extra)
        slab.advance_a_day(FIRST)
        seas.append(np.asarray(slab.carry[-1][1]))
    slab.carry, slab._q_flux = begin, Q_FLUX
    change = (seas[1] - seas[0])[:, 14:18]  # the tropics have no ice
    sea = slab.land_fraction[:, 14:18] < 0.05
    np.testing.assert_allclose(change[sea], -100 * 86400 / 8.4e7, rtol=0.05)
    assert np.abs((seas[1] - seas[0])[slab.land_fraction > 0.95]).max() == 0.0


def test_haze_dims_the_sun_where_it_hangs(days):
    haze = Haze("here", lat=0.0, lon=90.0, lat_size=10.0, lon_size=20.0, path=((1850.0, 0.0), (1900.0, 0.2)))
    world = dataclasses.replace(WORLD, haze=(haze,), scenario_start=1875.0, scenario_pace=0.0)
    atmosphere = dataclasses.replace(days[0], world=world)
    dimming = atmosphere.dimming(FIRST)
    i, j = np.abs(atmosphere.longitude - 90).argmin(), np.abs(atmosphere.latitude).argmin()
    assert dimming[i, j] == pytest.approx(0.1, abs=0.005)  # half way up the path
    assert dimming[(i + 32) % 64, j] < 1e-6
    assert dimming[i, 0] < 1e-6


def test_a_twin_differs_a_little(days):
    atmosphere, results = days
    last, atmosphere.carry = atmosphere.carry, atmosphere.before_the_last_day
    atmosphere.perturb(1e-3)
    out, _ = atmosphere.advance_a_day(FIRST + dt.timedelta(days=2))
    atmosphere.carry = last
    difference = out["geopotential_500"] - results[2][0]["geopotential_500"]
    assert 0 < np.sqrt((difference**2).mean()) < 100  # m2 s-2, that is 10 m


def test_the_dry_world_relaxes_to_held_and_suarez():
    """No water, no mountains; from rest at 288 K the tropics near the ground warm towards 315 K, by about a quarter of the gap a day."""
    world = dataclasses.replace(WORLD, scheme="held-suarez", sea=Sea(anomalies="none"))
    atmosphere = Atmosphere.build(world)
    assert np.abs(atmosphere.orography).max() == 0
    first, _ = atmosphere.advance_a_day(FIRST)
    second, _ = atmosphere.advance_a_day(FIRST + dt.timedelta(days=1))
    assert "2m_temperature" not in first
    equator = slice(15, 17)
    warming = (second["temperature_925"] - first["temperature_925"])[-1][:, equator].mean()
    assert 0.5 < warming < 8.0
    poles = (second["temperature_925"] - first["temperature_925"])[-1][:, [0, -1]].mean()
    assert poles < 0
