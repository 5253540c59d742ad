"""The general circulation model: jcm (SPEEDY or Held-Suarez physics, dinosaur core), sun, haze, slabs of land and sea, one compiled day.

jcm offers no public hook for a time-dependent sun or for a surface that answers its fluxes, so this file uses private names of
jcm 3.0.0 (`_get_op_split_step_fn`, the diagnostics that begin with an underscore). The extra `simulate` pins that version.
"""

from __future__ import annotations

import datetime as dt
import os
import warnings
from dataclasses import dataclass
from importlib import resources
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
warnings.filterwarnings("ignore", module=r"jcm|dinosaur|jax")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import jax_datetime as jdt  # noqa: E402
import jcm.constants  # noqa: E402
import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
from dinosaur import primitive_equations, scales  # noqa: E402
from jcm.date import DateData  # noqa: E402
from jcm.diffusion import DiffusionFilter  # noqa: E402
from jcm.dycore.dinosaur.dycore import DinosaurDycore  # noqa: E402
from jcm.forcing import ForcingData, default_forcing  # noqa: E402
from jcm.model import Model  # noqa: E402
from jcm.physics.composable_physics import ComposablePhysics  # noqa: E402
from jcm.physics.held_suarez.held_suarez_physics import HeldSuarez  # noqa: E402
from jcm.physics.speedy import speedy_terms as terms  # noqa: E402
from jcm.physics.speedy.params import Parameters  # noqa: E402
from jcm.physics.speedy.physical_constants import nstrad  # noqa: E402
from jcm.physics.speedy.speedy_coords import get_speedy_coords  # noqa: E402
from jcm.physics_interface import verify_state  # noqa: E402
from jcm.terrain import TerrainData  # noqa: E402

from .levels import GRAVITY, mean_sea_level_pressure, relative_humidity, to_pressure  # noqa: E402
from .transform import levelwise  # noqa: E402
from .world import World  # noqa: E402

LEVELS = (50, 250, 500, 600, 700, 850, 925)
"""Pressure levels of the output (hPa): those of ClimaX."""

OUTPUTS_A_DAY = 4
SURFACE_PRESSURE_FACTOR = 0.982  # of a uniform 1000 hPa: the observed global mean, about 984 hPa
LATENT_HEAT = 2501.0  # J g-1
SPECIFIC_HEAT = 1004.64  # J kg-1 K-1, of dry air at constant pressure

FLUXES = (
    "total_precipitation_6hr", "toa_incident_solar_radiation", "top_net_solar_radiation", "outgoing_longwave_radiation",
    "total_cloud_cover", "sensible_heat_flux", "latent_heat_flux",
)  # fmt: skip
"""Means over six hours (precipitation: sums), made step by step."""

_DRY = ("geopotential", "temperature", "u_component_of_wind", "v_component_of_wind")

EVERYTHING = (
    *(f"{base}_{level}" for level in LEVELS for base in (*_DRY, "specific_humidity")),
    "2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind", "skin_temperature", "sea_surface_temperature",
    "surface_pressure", "mean_sea_level_pressure", *FLUXES,
)  # fmt: skip
"""What a moist world keeps if its file does not say."""

DRY = (
    *(f"{base}_{level}" for level in LEVELS for base in _DRY),
    "surface_pressure", "mean_sea_level_pressure",
)  # fmt: skip
"""What there is in a world without water and without a surface."""


WATCHED = (
    "2m_temperature", "total_precipitation_6hr", "outgoing_longwave_radiation", "top_net_solar_radiation", "total_cloud_cover",
    "surface_pressure", "sensible_heat_flux", "latent_heat_flux", "surface_heat_flux", "sea_surface_temperature",
)  # fmt: skip
"""Global means that every run keeps day by day. `surface_heat_flux` is the net flux into land and sea, radiation included."""

RAW = {
    "total_precipitation_24hr": ("total_precipitation_6hr",),
    "tas": ("mean_2m_temperature",),
    "diurnal_temperature_range": ("coldest", "warmest"),
    "pr": ("total_precipitation_6hr",),
    "pr90": ("total_precipitation_6hr",),
}
"""Statistics → the six-hourly fields that they are made of (`reduce`)."""


class Forcing(terms.SpeedyForcing):
    """SPEEDY's forcing with insolation dimmed by haze and, if wanted, with a diurnal cycle.

    SPEEDY's daily-mean insolation is replaced by that of the hour: the cosine of the zenith angle, averaged over the interval between
    two calls of the radiation, for the declination of Spencer (1971). Daily totals stay SPEEDY's up to a few parts in a hundred.
    The haze travels in `forcing.aerosol_year_weight`, a field that SPEEDY does not use: what is left of the insolation, as a fraction.
    """

    def __init__(self, parameters, longitude_rad, diurnal_cycle: bool, radiation_hours: float):
        super().__init__(mod_radcon_params=parameters)
        self.longitude = tuple(float(x) for x in longitude_rad)
        self.diurnal_cycle = diurnal_cycle
        self.ahead = (0.0, 0.5 * radiation_hours, radiation_hours)

    def __call__(self, state, diagnostics, forcing, terrain):
        tendency, diagnostics = super().__call__(state, diagnostics, forcing, terrain)
        radiation = diagnostics["_shortwave_rad"]
        ratio = forcing.aerosol_year_weight
        if ratio.ndim != 2:  # jcm's own default, with which it tries the physics out before a run
            ratio = jnp.ones_like(radiation.fsol)
        if self.diurnal_cycle:
            ratio = ratio * self._insolation(forcing.solar) / jnp.maximum(radiation.fsol, 1e-3)
        diagnostics["_shortwave_rad"] = radiation.copy(
            fsol=radiation.fsol * ratio, ozone=radiation.ozone * ratio, ozupp=radiation.ozupp * ratio
        )
        return tendency, diagnostics

    def _insolation(self, solar):
        coords = self._speedy_coords.get_value()
        year = 2 * jnp.pi * solar.tyear
        declination = (
            0.006918 - 0.399912 * jnp.cos(year) + 0.070257 * jnp.sin(year) - 0.006758 * jnp.cos(2 * year)
            + 0.000907 * jnp.sin(2 * year) - 0.002697 * jnp.cos(3 * year) + 0.001480 * jnp.sin(3 * year)
        )  # fmt: skip
        distance = (
            1.00011
            + 0.034221 * jnp.cos(year)
            + 0.00128 * jnp.sin(year)
            + 0.000719 * jnp.cos(2 * year)
            + 0.000077 * jnp.sin(2 * year)
        )
        hour_angle = solar.synodic_phase + jnp.asarray(self.longitude)[:, None] - jnp.pi
        cos_zenith = sum(
            jnp.maximum(
                coords.sia * jnp.sin(declination) + coords.coa * jnp.cos(declination) * jnp.cos(hour_angle + 2 * jnp.pi * ahead / 24), 0.0
            )
            for ahead in self.ahead
        ) / len(self.ahead)  # fmt: skip
        return 4 * 342.0 * distance * cos_zenith


def _parameters(world: World) -> Parameters:
    p = Parameters.default()
    for name, value in world.physics.items():
        group, _, key = name.partition(".")
        if not hasattr(getattr(p, group, None), key):
            raise ValueError(f"[physics] {name}: SPEEDY has no such parameter")
        setattr(getattr(p, group), key, jnp.array(float(value)))
    return p


def _speedy(world: World, longitude_rad) -> ComposablePhysics:
    p = _parameters(world)
    hours = nstrad * world.time_step_minutes / 60
    return ComposablePhysics(
        terms=[
            terms.SpeedyFlags(),
            Forcing(p.mod_radcon, longitude_rad, world.sun.diurnal_cycle, hours),
            terms.SpeedyHumidity(),
            terms.SpeedyConvection(convection_params=p.convection),
            terms.SpeedyLargeScaleCondensation(condensation_params=p.condensation),
            terms.SpeedyClouds(sw_params=p.shortwave_radiation),
            terms.SpeedyShortwaveRadiation(sw_params=p.shortwave_radiation, mod_radcon_params=p.mod_radcon),
            terms.SpeedyDownwardLongwaveRadiation(mod_radcon_params=p.mod_radcon),
            terms.SpeedySurfaceFlux(surface_params=p.surface_flux, mod_radcon_params=p.mod_radcon),
            terms.SpeedyUpwardLongwaveRadiation(mod_radcon_params=p.mod_radcon),
            terms.SpeedyVerticalDiffusion(vdiff_params=p.vertical_diffusion),
        ],
        checkpoint_terms=False,
    )


def _held_suarez(world: World) -> ComposablePhysics:
    """The forcing of Held and Suarez (1994): relaxation to a temperature of radiative equilibrium, friction near the ground."""
    units = {"kf": 1 / scales.units.day, "ka": 1 / scales.units.day, "ks": 1 / scales.units.day, "sigma_b": 1.0}
    units |= dict.fromkeys(("minT", "maxT", "dTy", "dThz"), scales.units.degK)
    if unknown := sorted(set(world.physics) - set(units)):
        raise ValueError(f"[physics] {unknown}: the Held-Suarez forcing has {sorted(units)}, in kelvin and per day")
    chosen = {name: value * units[name] for name, value in world.physics.items()}
    return ComposablePhysics(terms=[HeldSuarez(**chosen)], checkpoint_terms=False)


def _observed_anomalies(lon_deg, lat_deg) -> np.ndarray:
    """Monthly sea-surface temperature anomalies 1979-2013 (month, lon, lat) in K, interpolated to the model's grid; zero on land."""
    path = resources.files("jcm") / "data/bc/t30/anom/sea_surface_temperature_anomaly.nc"
    a = xr.open_dataset(str(path), decode_times=False)["ssta"]
    a = a.where(np.abs(a) < 50, 0.0).fillna(0.0).sortby("lat")
    a = xr.concat([a, a.isel(lon=slice(0, 1)).assign_coords(lon=[360.0])], "lon")  # round the date line
    inside = np.clip(lat_deg, float(a.lat[0]) + 1e-3, float(a.lat[-1]) - 1e-3)
    return a.interp(lon=lon_deg, lat=inside).transpose("time", "lon", "lat").values.astype("float32")


def _boundaries(world: World, coords):
    """Terrain and the climatology of the surface: T63 has files of its own, the others are interpolated from T30's."""
    if world.scheme == "held-suarez":
        return TerrainData.aquaplanet(coords), default_forcing(coords.horizontal)
    folder = resources.files("jcm") / ("data/bc/t63" if world.truncation == 63 else "data/bc/t30/clim")
    return (
        TerrainData.from_file(str(folder / "terrain.nc"), coords),
        ForcingData.from_file(str(folder / "forcing.nc"), coords, align_mode="wrap_year"),
    )


@dataclass
class Atmosphere:
    """A world ready to run, one day at a time."""

    world: World
    latitude: np.ndarray  # degrees, ascending
    longitude: np.ndarray  # degrees, from 0
    orography: np.ndarray  # (lon, lat), m: the truncated one, which the dynamical core feels
    land_fraction: np.ndarray  # (lon, lat)
    carry: Any  # the whole state: a pytree of arrays
    _day: Any
    _forcing: ForcingData
    _anomalies: np.ndarray | None
    _q_flux: np.ndarray | None  # (12, lon, lat), W m-2
    _wavenumbers: np.ndarray  # of the spectral state's second axis

    @classmethod
    def build(cls, world: World, q_flux: np.ndarray | None = None) -> Atmosphere:
        """Set a world up at rest. `q_flux` (12, lon, lat): what the slab of sea gives away each month of the year, W m-2."""
        coords = levelwise(get_speedy_coords(layers=8, spectral_truncation=world.truncation))
        terrain, forcing = _boundaries(world, coords)
        lon = np.asarray(coords.horizontal.nodal_axes[0])
        lat = np.arcsin(np.asarray(coords.horizontal.nodal_axes[1]))
        d = world.diffusion
        dycore = DinosaurDycore(
            coords,
            terrain,
            60.0 * world.time_step_minutes,
            diffusion=DiffusionFilter(
                temp_timescale=3600 * d.temperature_hours, temp_order=2,
                vor_q_timescale=3600 * d.vorticity_hours, vor_q_order=2,
                div_timescale=3600 * d.divergence_hours, div_order=1,
            ),
            advection="eulerian",
        )  # fmt: skip
        dry = world.scheme == "held-suarez"
        model = Model(
            dycore, physics=_held_suarez(world) if dry else _speedy(world, lon), start_time=world.first_day.isoformat()
        )
        truncated = primitive_equations.truncated_modal_orography(terrain.orog, coords, wavenumbers_to_clip=2)
        orography = jnp.asarray(coords.horizontal.to_nodal(truncated)).squeeze()
        state, physics = model.bootstrap_state(None)
        if not dry:
            start = model.dycore.to_physics_state(state)
            pressure = start.normalized_surface_pressure * SURFACE_PRESSURE_FACTOR
            state, physics = model.bootstrap_state(start.copy(normalized_surface_pressure=pressure))
        # The slabs come last: land always, the sea where it is a slab.
        slabs = [jnp.zeros(coords.horizontal.nodal_shape)] * (2 if world.sea.slab else 1)
        lon_deg, lat_deg = np.rad2deg(lon), np.rad2deg(lat)
        return cls(
            world=world,
            latitude=lat_deg,
            longitude=lon_deg,
            orography=np.asarray(orography),
            land_fraction=np.asarray(terrain.fmask),
            carry=(state, physics, model.start_time, jnp.int32(0), slabs),
            _day=_compile_day(model, coords, terrain, orography, world),
            _forcing=forcing,
            _anomalies=_observed_anomalies(lon_deg, lat_deg) if world.sea.anomalies == "observed" and not dry else None,
            _q_flux=q_flux,
            _wavenumbers=np.asarray(coords.horizontal.modal_axes[0]),
        )

    def advance_a_day(self, day: dt.date) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Integrate from 00 UTC of `day` to the next.

        Returns:
            each output as (4, lon, lat), valid at 06, 12, 18 and 24 UTC; and the day's global means and extremes (`checks`).
        """
        today = {"sea_anomaly": jnp.asarray(self._sea_anomaly(day))}
        if self._q_flux is not None:
            today["q_flux"] = jnp.asarray(self._monthly(self._q_flux, day))
        forcing = self._forcing
        if self.world.scheme == "speedy":
            felt = self.world.sun.co2_ppm + self.world.sun.co2_effect * (self.co2(day) - self.world.sun.co2_ppm)
            forcing = forcing.copy(co2_vmr=jnp.float32(felt), aerosol_year_weight=jnp.asarray(1.0 - self.dimming(day)))
        self.carry, (out, monitor) = self._day(self.carry, forcing, today)
        return {k: np.asarray(v) for k, v in out.items()}, {k: float(v) for k, v in monitor.items()}

    def co2(self, day: dt.date) -> float:
        """Carbon dioxide (ppm) on a day."""
        if not self.world.sun.co2_path:
            return self.world.sun.co2_ppm
        return float(np.interp(self.world.scenario_year(day), *zip(*self.world.sun.co2_path, strict=True)))

    def dimming(self, day: dt.date) -> np.ndarray:
        """(lon, lat): the fraction of insolation that the haze takes on a day."""
        out = np.zeros(self.land_fraction.shape, "float32")
        for h in self.world.haze:
            fraction = np.interp(self.world.scenario_year(day), *zip(*h.path, strict=True))
            east = (self.longitude - h.lon + 180) % 360 - 180
            shape = np.exp(-0.5 * ((east[:, None] / h.lon_size) ** 2 + ((self.latitude - h.lat) / h.lat_size) ** 2))
            out += np.float32(fraction) * shape.astype("float32")
        return out

    def perturb(self, amplitude: float, seed: int = 0) -> None:
        """Multiply each spectral coefficient of temperature by 1 + `amplitude` × a normal random number: the seed of a twin.

        The zonal mean and the longest waves, up to zonal wavenumber 4, are left alone: shifted, they would stay shifted for weeks, and
        hide how errors grow.
        """
        state, *rest = self.carry
        noise = np.random.default_rng(seed).normal(size=state.temperature_variation.shape).astype("float32")
        noise[:, np.abs(self._wavenumbers) < 5] = 0.0
        state = state.replace(temperature_variation=state.temperature_variation * (1 + amplitude * noise))
        self.carry = (state, *rest)

    def _sea_anomaly(self, day: dt.date) -> np.ndarray:
        base = np.full(self.land_fraction.shape, self.world.sea.offset_K, "float32")
        if self._anomalies is None:
            return base
        last = len(self._anomalies) - 1
        elapsed = (day - dt.date(1979, 1, 1)).days / 30.4375 + 12 * self.world.sea.shift_years
        months = np.clip(elapsed - 0.5, 0, last - 1e-6)
        i, weight = int(months), np.float32(months - int(months))
        return base + self._anomalies[i] * (1 - weight) + self._anomalies[i + 1] * weight

    @staticmethod
    def _monthly(values: np.ndarray, day: dt.date) -> np.ndarray:
        """Between the middles of two months, on a straight line."""
        months = 12 * ((day.timetuple().tm_yday - 0.5) / 365.25) - 0.5
        i, weight = int(np.floor(months)), np.float32(months - np.floor(months))
        return (values[i % 12] * (1 - weight) + values[(i + 1) % 12] * weight).astype("float32")


def _compile_day(model, coords, terrain, orography, world: World):
    """One jitted day: steps of the model with its slabs, four outputs, and a few numbers that watch over the run."""
    steps = 360 // world.time_step_minutes
    seconds = int(model.dt_si.m)
    sigma = np.asarray(coords.vertical.centers)
    land = terrain.fmask
    dry = world.scheme == "held-suarez"
    names = world.output.variables or (DRY if dry else EVERYTHING)
    wanted = tuple(dict.fromkeys(raw for name in names for raw in RAW.get(name, (name,))))
    weights = jnp.asarray(np.polynomial.legendre.leggauss(land.shape[1])[1] / (2 * land.shape[0]))

    def fluxes(physics):
        """What is summed over the steps of six hours, and the near-surface temperature, whose extremes are kept."""
        surface, short, long = physics["_surface_flux"], physics["_shortwave_rad"], physics["_longwave_rad"]
        rain = physics["_convection"].precnv + physics["_condensation"].precls  # g m-2 s-1
        sums = jnp.stack(
            [rain * seconds / 1e6, short.fsol / steps, short.ftop / steps, long.ftop / steps, short.cloudc / steps,
             surface.shf / steps, surface.evap * LATENT_HEAT / steps, surface.t0 / steps, into_sea(surface) / steps, surface.hfluxn / steps]
        )  # fmt: skip
        return sums, surface.t0

    # SPEEDY's flux into the ground is 7 W m-2 K-1 times the difference of skin and ground temperature, weighted by land.
    def into_land(surface):
        return 7.0 * (surface.tskin - surface.tsfc)

    def into_sea(surface):
        return (surface.hfluxn - into_land(surface)) / jnp.maximum(1.0 - land, 0.1)

    def warm(slabs, surface, ice, q_flux):
        anomaly = slabs[0]
        if world.land.slab:
            flux = into_land(surface) / jnp.maximum(land, 0.1)
            anomaly = anomaly + jnp.where(land > 0.05, flux * seconds / world.land.heat_capacity, 0.0)
            anomaly = jnp.clip(anomaly * (1 - seconds / (86400.0 * world.land.relaxation_days)), -40.0, 40.0)
        if not world.sea.slab:
            return [anomaly]
        # Under ice the sea keeps its climatology: there is no model of ice here.
        open_water = (land < 0.95) & (ice < 0.5)
        flux = jnp.where(open_water, into_sea(surface) - q_flux, 0.0)
        return [anomaly, slabs[1] + flux * seconds / world.sea.heat_capacity]

    def step(carry, forcing, today):
        state, physics, clock, n, slabs, sums, extremes = carry
        date = DateData(clock, n, seconds)
        now = forcing if dry else forcing.select(date)
        if not dry:
            sea = today["sea_anomaly"] + (slabs[1] if world.sea.slab else 0.0)
            now = now.copy(
                sea_surface_temperature=now.sea_surface_temperature + sea,
                stl_am=now.stl_am + world.sea.offset_K + slabs[0],
            )
        state, physics = model._get_op_split_step_fn(now)(state, physics, date)
        if not dry:
            slabs = warm(slabs, physics["_surface_flux"], now.sice_am, today.get("q_flux", 0.0))
            more, t0 = fluxes(physics)
            sums = sums + more
            extremes = jnp.stack([jnp.minimum(extremes[0], t0), jnp.maximum(extremes[1], t0)])
        return state, physics, clock + jdt.Timedelta(seconds=jnp.int32(seconds)), n + 1, slabs, sums, extremes

    def six_hours(carry, forcing, today):
        shape = coords.horizontal.nodal_shape
        sums = jnp.zeros((len(FLUXES) + 3, *shape))
        extremes = jnp.stack([jnp.full(shape, 1e3), jnp.zeros(shape)])
        *carry, sums, extremes = jax.lax.fori_loop(
            0, steps, lambda _, c: step(c, forcing, today), (*carry, sums, extremes)
        )
        state, physics, clock, n, slabs = carry
        s = verify_state(model.dycore.to_physics_state(state))
        pressure = s.normalized_surface_pressure * jcm.constants.p0
        msl = mean_sea_level_pressure(pressure, s.temperature[-1], sigma[-1], orography)
        out = {"surface_pressure": pressure, "mean_sea_level_pressure": msl, **_on_levels(wanted, s, pressure, sigma)}
        if not dry:
            surface = physics["_surface_flux"]
            sea = forcing.select(DateData(clock, n, seconds)).sea_surface_temperature + today["sea_anomaly"]
            out |= {
                "2m_temperature": surface.t0,
                "10m_u_component_of_wind": surface.u0,
                "10m_v_component_of_wind": surface.v0,
                "skin_temperature": surface.tskin,
                "sea_surface_temperature": sea + (slabs[1] if world.sea.slab else 0.0),
                "coldest": extremes[0],
                "warmest": extremes[1],
                **dict(zip((*FLUXES, "mean_2m_temperature", "sea_heat_flux", "surface_heat_flux"), sums, strict=True)),
            }
        if missing := sorted(set(wanted) - set(out)):
            raise ValueError(f"output.variables: {world.name} has no {missing}; it has {sorted(out)} and levels")
        watched = {name: (out[name] * weights).sum() for name in WATCHED if name in out}
        thickness = jnp.asarray(coords.vertical.layer_thickness)[:, None, None] * pressure / GRAVITY  # kg m-2
        motion, vapour = 0.5 * (s.u_wind**2 + s.v_wind**2), 1e3 * LATENT_HEAT * s.specific_humidity
        heat = (thickness * (SPECIFIC_HEAT * s.temperature + motion + vapour)).sum(axis=0)
        lift = pressure * orography  # potential energy of the ground that the column stands on
        watched |= {"column_energy": ((heat + lift) * weights).sum()}
        watched |= {"column_water": ((thickness * s.specific_humidity).sum(axis=0) * weights).sum()}
        watched |= {"lowest_pressure": msl.min(), "highest_pressure": msl.max()}
        watched |= {"lowest_at": msl.argmin(), "highest_at": msl.argmax()}
        return tuple(carry), ({name: out[name] for name in wanted}, watched)

    @jax.jit
    def day(carry, forcing, today):
        carry, (out, watched) = jax.lax.scan(
            lambda c, _: six_hours(c, forcing, today), carry, None, length=OUTPUTS_A_DAY
        )
        ends = ("column_energy", "column_water")  # contents are those of 24 UTC, so that they can be differenced
        monitor = {name: values[-1] if name in ends else values.mean() for name, values in watched.items()}
        low, high = watched["lowest_pressure"].argmin(), watched["highest_pressure"].argmax()
        for name, when in (("lowest", low), ("highest", high)):
            monitor |= {f"{name}_{what}": watched[f"{name}_{what}"][when] for what in ("pressure", "at")}
        return carry, (out, monitor)

    return day


def _on_levels(wanted, s, pressure, sigma) -> dict[str, Any]:
    """The wanted fields on pressure levels; nothing is computed for levels that nobody wants."""
    virtual = s.temperature * (1 + 0.608 * s.specific_humidity)
    levels = {int(name.rpartition("_")[2]) for name in wanted if name.rpartition("_")[2].isdigit()}
    out = {}
    for level in sorted(levels):
        fields = [s.temperature, s.u_wind, s.v_wind, s.specific_humidity]
        (t, u, v, q), phi = to_pressure(level, pressure, sigma, fields, s.geopotential, virtual)
        q = jnp.maximum(q, 0.0)
        out |= {
            f"geopotential_{level}": phi,
            f"temperature_{level}": t,
            f"u_component_of_wind_{level}": u,
            f"v_component_of_wind_{level}": v,
            f"specific_humidity_{level}": q,
            f"relative_humidity_{level}": relative_humidity(q, t, level),
        }
    return out
