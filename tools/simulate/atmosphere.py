"""The general circulation model: jcm (SPEEDY physics, dinosaur core), a diurnal sun, a slab of land, one compiled day.

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
from dinosaur import primitive_equations  # noqa: E402
from jcm.date import DateData  # noqa: E402
from jcm.forcing import ForcingData  # noqa: E402
from jcm.model import Model  # noqa: E402
from jcm.physics.composable_physics import ComposablePhysics  # noqa: E402
from jcm.physics.speedy import speedy_terms as terms  # noqa: E402
from jcm.physics.speedy.params import Parameters  # noqa: E402
from jcm.physics.speedy.speedy_coords import get_speedy_coords  # noqa: E402
from jcm.physics_interface import verify_state  # noqa: E402
from jcm.terrain import TerrainData  # noqa: E402

from .levels import mean_sea_level_pressure, to_pressure  # noqa: E402
from .world import World  # noqa: E402

LEVELS = (50, 250, 500, 600, 700, 850, 925)
"""Pressure levels of the output (hPa): those of ClimaX."""

OUTPUTS_A_DAY = 4
SURFACE_PRESSURE_FACTOR = 0.982  # of a uniform 1000 hPa: the observed global mean, about 984 hPa
LATENT_HEAT = 2501.0  # J g-1


class DiurnalForcing(terms.SpeedyForcing):
    """SPEEDY's forcing with its daily-mean insolation replaced by that of the hour: the cosine of the zenith angle, averaged over
    the 1.5 hours ahead, for the declination of Spencer (1971). Daily totals stay SPEEDY's up to a few parts in a hundred."""

    def __init__(self, parameters, longitude_rad):
        super().__init__(mod_radcon_params=parameters)
        self.longitude = tuple(float(x) for x in longitude_rad)

    def __call__(self, state, diagnostics, forcing, terrain):
        tendency, diagnostics = super().__call__(state, diagnostics, forcing, terrain)
        radiation = diagnostics["_shortwave_rad"]
        coords = self._speedy_coords.get_value()
        year = 2 * jnp.pi * forcing.solar.tyear
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
        hour_angle = forcing.solar.synodic_phase + jnp.asarray(self.longitude)[:, None] - jnp.pi
        cos_zenith = sum(
            jnp.maximum(
                coords.sia * jnp.sin(declination) + coords.coa * jnp.cos(declination) * jnp.cos(hour_angle + 2 * jnp.pi * ahead / 24), 0.0
            )
            for ahead in (0.0, 0.75, 1.5)
        ) / 3.0  # fmt: skip
        ratio = 4 * 342.0 * distance * cos_zenith / jnp.maximum(radiation.fsol, 1e-3)
        diagnostics["_shortwave_rad"] = radiation.copy(
            fsol=radiation.fsol * ratio, ozone=radiation.ozone * ratio, ozupp=radiation.ozupp * ratio
        )
        return tendency, diagnostics


def _physics(world: World, longitude_rad) -> ComposablePhysics:
    p = Parameters.default()
    for name, value in world.physics.items():
        group, key = name.split(".")
        if not hasattr(getattr(p, group, None), key):
            raise ValueError(f"[physics] {name}: SPEEDY has no such parameter")
        setattr(getattr(p, group), key, jnp.array(float(value)))
    if world.sun.diurnal_cycle:
        forcing = DiurnalForcing(p.mod_radcon, longitude_rad)
    else:
        forcing = terms.SpeedyForcing(mod_radcon_params=p.mod_radcon)
    return ComposablePhysics(
        terms=[
            terms.SpeedyFlags(),
            forcing,
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


def _observed_anomalies(lon_deg, lat_deg) -> np.ndarray:
    """Monthly sea-surface temperature anomalies 1979-2013 (month, lon, lat) in K, interpolated to the model's grid; zero on land."""
    path = resources.files("jcm") / "data/bc/t30/anom/sea_surface_temperature_anomaly.nc"
    a = xr.open_dataset(str(path), decode_times=False)["ssta"]
    a = a.where(np.abs(a) < 50, 0.0).fillna(0.0).sortby("lat")
    a = xr.concat([a, a.isel(lon=slice(0, 1)).assign_coords(lon=[360.0])], "lon")  # round the date line
    inside = np.clip(lat_deg, float(a.lat[0]) + 1e-3, float(a.lat[-1]) - 1e-3)
    return a.interp(lon=lon_deg, lat=inside).transpose("time", "lon", "lat").values.astype("float32")


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

    @classmethod
    def build(cls, world: World) -> Atmosphere:
        boundary = resources.files("jcm") / "data/bc/t30/clim"
        coords = get_speedy_coords(layers=8, spectral_truncation=world.truncation)
        terrain = TerrainData.from_file(str(boundary / "terrain.nc"), coords)
        forcing = ForcingData.from_file(str(boundary / "forcing.nc"), coords, align_mode="wrap_year")
        shape = coords.horizontal.nodal_shape
        forcing = forcing.copy(co2_vmr=jnp.array(world.sun.co2_ppm), aerosol_year_weight=jnp.ones(shape))
        lon = np.asarray(coords.horizontal.nodal_axes[0])
        lat = np.arcsin(np.asarray(coords.horizontal.nodal_axes[1]))
        model = Model(
            coords=coords,
            terrain=terrain,
            physics=_physics(world, lon),
            time_step=float(world.time_step_minutes),
            start_time=world.first_day.isoformat(),
        )
        truncated = primitive_equations.truncated_modal_orography(terrain.orog, coords, wavenumbers_to_clip=2)
        orography = jnp.asarray(coords.horizontal.to_nodal(truncated)).squeeze()
        state, _ = model.bootstrap_state(None)
        start = model.dycore.to_physics_state(state)
        start = start.copy(normalized_surface_pressure=start.normalized_surface_pressure * SURFACE_PRESSURE_FACTOR)
        state, physics = model.bootstrap_state(start)
        land_anomaly = jnp.zeros(shape)
        lon_deg, lat_deg = np.rad2deg(lon), np.rad2deg(lat)
        return cls(
            world=world,
            latitude=lat_deg,
            longitude=lon_deg,
            orography=np.asarray(orography),
            land_fraction=np.asarray(terrain.fmask),
            carry=(state, physics, model.start_time, jnp.int32(0), land_anomaly),
            _day=_compile_day(model, coords, terrain, orography, world),
            _forcing=forcing,
            _anomalies=_observed_anomalies(lon_deg, lat_deg) if world.sea.anomalies == "observed" else None,
        )

    def advance_a_day(self, day: dt.date) -> dict[str, np.ndarray]:
        """Integrate from 00 UTC of `day` to the next; returns each output as (4, lon, lat), valid at 06, 12, 18 and 24 UTC."""
        self.carry, out = self._day(self.carry, self._forcing, jnp.asarray(self._sea_anomaly(day)))
        return {name: np.asarray(values) for name, values in out.items()}

    def _sea_anomaly(self, day: dt.date) -> np.ndarray:
        base = np.full(self.land_fraction.shape, self.world.sea.offset_K, "float32")
        if self._anomalies is None:
            return base
        last = len(self._anomalies) - 1
        months = np.clip((day - dt.date(1979, 1, 1)).days / 30.4375 - 0.5, 0, last - 1e-6)
        i, weight = int(months), np.float32(months - int(months))
        return base + self._anomalies[i] * (1 - weight) + self._anomalies[i + 1] * weight


def _compile_day(model, coords, terrain, orography, world: World):
    """One jitted day: steps of the model with the slab of land, and four outputs."""
    steps = 360 // world.time_step_minutes
    seconds = int(model.dt_si.m)
    sigma = np.asarray(coords.vertical.centers)
    land = terrain.fmask

    def step(carry, forcing, sea_anomaly):
        state, physics, clock, n, land_anomaly, sums = carry
        date = DateData(clock, n, seconds)
        now = forcing.select(date)
        now = now.copy(
            sea_surface_temperature=now.sea_surface_temperature + sea_anomaly,
            stl_am=now.stl_am + world.sea.offset_K + land_anomaly,
        )
        state, physics = model._get_op_split_step_fn(now)(state, physics, date)
        surface, short, long = physics["_surface_flux"], physics["_shortwave_rad"], physics["_longwave_rad"]
        if world.land.slab:
            # SPEEDY's flux into the ground is 7 W m-2 K-1 times the difference of skin and ground temperature, weighted by land.
            into_ground = 7.0 * (surface.tskin - surface.tsfc) / jnp.maximum(land, 0.1)
            warmed = land_anomaly + jnp.where(land > 0.05, into_ground * seconds / world.land.heat_capacity, 0.0)
            land_anomaly = jnp.clip(warmed * (1 - seconds / (86400.0 * world.land.relaxation_days)), -40.0, 40.0)
        rain = physics["_convection"].precnv + physics["_condensation"].precls  # g m-2 s-1
        sums = sums + jnp.stack(
            [rain * seconds / 1e6, short.fsol / steps, short.ftop / steps, long.ftop / steps, short.cloudc / steps,
             surface.shf / steps, surface.evap * LATENT_HEAT / steps]
        )  # fmt: skip
        return state, physics, clock + jdt.Timedelta(seconds=jnp.int32(seconds)), n + 1, land_anomaly, sums

    def six_hours(carry, forcing, sea_anomaly):
        sums = jnp.zeros((7, *coords.horizontal.nodal_shape))
        state, physics, clock, n, land_anomaly, sums = jax.lax.fori_loop(
            0, steps, lambda _, c: step(c, forcing, sea_anomaly), (*carry, sums)
        )
        s = verify_state(model.dycore.to_physics_state(state))
        pressure = s.normalized_surface_pressure * jcm.constants.p0
        virtual = s.temperature * (1 + 0.608 * s.specific_humidity)
        out = {}
        for level in LEVELS:
            fields = [s.temperature, s.u_wind, s.v_wind, s.specific_humidity]
            (t, u, v, q), phi = to_pressure(level, pressure, sigma, fields, s.geopotential, virtual)
            out |= {
                f"geopotential_{level}": phi,
                f"temperature_{level}": t,
                f"u_component_of_wind_{level}": u,
                f"v_component_of_wind_{level}": v,
                f"specific_humidity_{level}": jnp.maximum(q, 0.0),
            }
        surface = physics["_surface_flux"]
        sea = forcing.select(DateData(clock, n, seconds)).sea_surface_temperature + sea_anomaly
        names = (
            "total_precipitation_6hr", "toa_incident_solar_radiation", "top_net_solar_radiation", "outgoing_longwave_radiation",
            "total_cloud_cover", "sensible_heat_flux", "latent_heat_flux",
        )  # fmt: skip
        out |= {
            "2m_temperature": surface.t0,
            "10m_u_component_of_wind": surface.u0,
            "10m_v_component_of_wind": surface.v0,
            "skin_temperature": surface.tskin,
            "sea_surface_temperature": sea,
            "surface_pressure": pressure,
            "mean_sea_level_pressure": mean_sea_level_pressure(pressure, s.temperature[-1], sigma[-1], orography),
            **dict(zip(names, sums, strict=True)),
        }
        return (state, physics, clock, n, land_anomaly), out

    @jax.jit
    def day(carry, forcing, sea_anomaly):
        return jax.lax.scan(lambda c, _: six_hours(c, forcing, sea_anomaly), carry, None, length=OUTPUTS_A_DAY)

    return day
