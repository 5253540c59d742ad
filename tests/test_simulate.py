"""The tool that makes the worlds: its world files, its vertical interpolation and its regridding. Parts that run the model need the extra `simulate`."""

import datetime as dt
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from climax_lite.grid import Grid  # noqa: E402
from tools.simulate.embed import conservative  # noqa: E402
from tools.simulate.world import World, find, names  # noqa: E402

WORLDS = ROOT / "tools/simulate/worlds"


@pytest.mark.parametrize("path", sorted(WORLDS.glob("*.toml")), ids=lambda p: p.stem)
def test_world_files_are_valid(path):
    world = World.read(path)
    assert world.name == path.stem
    assert world.first_day == world.start - dt.timedelta(days=world.spinup_days)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("truncaton = 31", r"unknown keys \['truncaton'\]; a world file may have"),
        ("truncation = 85", r"truncation must be one of \[21, 31, 63\], not 85"),
        ("time_step_minutes = 50", "must divide the 360 minutes"),
        ("[sun]\nco2 = 1", r"unknown keys \['co2'\] in \[sun\]"),
        ("[sea]\nanomalies = 'imagined'", "'observed' or 'none', not 'imagined'"),
        ("[sea]\nslab = true", "needs sea.q_flux, the name of a world with prescribed sea"),
        ("scheme = 'echam'", r"scheme must be one of \['speedy', 'held-suarez'\], not 'echam'"),
        ("[output]\nevery = '3h'", r"must be one of \['6h', 'day', 'month', 'year'\], not '3h'"),
        ("[[haze]]\nplace = 'Europe'", r"unknown keys \['place'\] in \[haze\]"),
    ],
)
def test_a_wrong_world_file_gets_a_sentence(tmp_path, line, says):
    path = tmp_path / "w.toml"
    path.write_text(f"name = 'w'\ntitle = 'w'\nstart = 1985-01-01\nyears = 1\n{line}\n")
    with pytest.raises(ValueError, match=says):
        World.read(path)


def test_a_world_starts_on_the_first_of_january(tmp_path):
    with pytest.raises(ValueError, match="first of January"):
        World("w", "w", dt.date(1985, 6, 1), 1)


def test_a_world_may_be_like_another(tmp_path):
    (tmp_path / "a.toml").write_text(
        "name = 'a'\ntitle = 'a'\nstart = 1985-01-01\nyears = 1\n[sun]\nco2_ppm = 284\ndiurnal_cycle = false\n"
    )
    (tmp_path / "b.toml").write_text("like = 'a'\nname = 'b'\n[sun]\nco2_ppm = 560\n")
    world = World.read(tmp_path / "b.toml")
    assert (world.name, world.title, world.sun.co2_ppm, world.sun.diurnal_cycle) == ("b", "a", 560, False)


def test_an_unknown_world_gets_a_sentence():
    with pytest.raises(ValueError, match=r"unknown world 'windi': expected a \.toml file or one of control, "):
        find("windi")


def test_worlds_come_after_those_that_they_need():
    order = names()
    assert set(order) == {p.stem for p in WORLDS.glob("*.toml")}
    for name in order:
        for other in find(name).needs:
            assert order.index(other) < order.index(name)


def test_the_calendar_of_a_scenario_is_stretched():
    world = World("w", "w", dt.date(1905, 1, 1), 51, scenario_start=2015.0, scenario_pace=1.7)
    assert world.scenario_year(dt.date(1904, 6, 1)) == 2015.0
    assert world.scenario_year(dt.date(1955, 1, 1)) == pytest.approx(2015 + 50 * 1.7, abs=0.01)


def gaussian() -> Grid:
    return Grid(np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(48)[0])), np.arange(96) * 3.75)


def test_conservative_means_keep_a_constant_and_the_global_mean():
    source, target = gaussian(), Grid.regular(32, 64)
    x = np.random.default_rng(3).normal(size=(2, 48, 96)) + 5
    y = conservative(x, source, target)
    np.testing.assert_allclose(conservative(np.full((48, 96), 7.0), source, target), 7.0, rtol=1e-12)
    mean = [(f * g.area()).sum(axis=(-2, -1)) / g.area().sum() for f, g in ((x, source), (y, target))]
    np.testing.assert_allclose(mean[0], mean[1], rtol=1e-9)


def test_conservative_means_by_hand_across_greenwich():
    # Target cells of 90 degrees centred on 0, 90, ...; source cells of 45 degrees: the first target holds half of 315, all of 0, half of 45.
    source, target = Grid([-45.0, 45.0], np.arange(8) * 45.0), Grid([-45.0, 45.0], np.arange(4) * 90.0)
    x = np.arange(8.0) * np.ones((2, 1))
    np.testing.assert_allclose(conservative(x, source, target)[0], [(7 * 0.5 + 0 + 1 * 0.5) / 2, 2, 4, 6])


class TestModel:
    """On two days of the real model."""

    @pytest.fixture(autouse=True)
    def needs_the_extra(self):
        pytest.importorskip("jcm", reason="needs the extra 'simulate'")

    def test_geopotential_and_temperature_of_an_isothermal_atmosphere(self):
        from tools.simulate.levels import R_DRY, to_pressure

        sigma = np.array([0.1, 0.3, 0.6, 0.95])
        t = np.full((4, 1, 1), 250.0)
        phi = -R_DRY * 250.0 * np.log(sigma)[:, None, None]
        for level in (200, 500, 900):
            (out,), z = to_pressure(level, np.full((1, 1), 1e5), sigma, [t], phi, t)
            assert float(out[0, 0]) == pytest.approx(250.0)
            assert float(z[0, 0]) == pytest.approx(-R_DRY * 250.0 * np.log(level / 1000), rel=1e-5)

    def test_sea_level_pressure(self):
        from tools.simulate.levels import GRAVITY, R_DRY, mean_sea_level_pressure

        at_sea = mean_sea_level_pressure(np.full(1, 1.01e5), np.full(1, 280.0), 0.95, np.zeros(1))
        assert float(at_sea[0]) == pytest.approx(1.01e5, rel=2e-4)
        # A standard atmosphere seen from 1000 m: 288.15 K and 1013.25 hPa at the sea.
        t_surface = 288.15 - 6.5
        p_surface = 101325 * (t_surface / 288.15) ** (GRAVITY / (R_DRY * 0.0065))
        lowest = t_surface * 0.95 ** (R_DRY * 0.0065 / GRAVITY)
        got = mean_sea_level_pressure(np.full(1, p_surface), np.full(1, lowest), 0.95, np.full(1, 1000.0))
        assert float(got[0]) == pytest.approx(101325, rel=1e-4)
