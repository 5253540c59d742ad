"""From SPEEDY's eight sigma layers to pressure levels, and from surface to mean-sea-level pressure. Pure functions of JAX arrays."""

from __future__ import annotations

import jax.numpy as jnp

GRAVITY = 9.81  # m s-2, SPEEDY's own value
R_DRY = 287.0  # J kg-1 K-1
LAPSE = 0.0065  # K m-1, of the standard atmosphere, below the lowest layer


def to_pressure(level_hpa, surface_pressure, sigma, fields, geopotential, temperature):
    """Interpolate to one pressure level, linearly in log-pressure.

    Args:
        level_hpa: pressure of the level (hPa).
        surface_pressure: (lon, lat), Pa.
        sigma: the K layer centres, top first.
        fields: arrays (K, lon, lat); the first must be the temperature (K), which is extrapolated below the lowest layer with the
            standard lapse rate; the others are held constant there.
        geopotential: (K, lon, lat), m² s⁻².
        temperature: virtual temperature (K, lon, lat) that goes with the geopotential.

    Returns:
        The fields on the level, and the geopotential on it. The geopotential keeps hydrostatic balance inside a layer: with
        temperature linear in ln p, dΦ = −R T dln p integrates to the quadratic below.
    """
    x = jnp.log(jnp.asarray(sigma))
    target = jnp.log(100.0 * level_hpa / surface_pressure)
    out = [f[0] for f in fields]
    phi = geopotential[0]
    for k in range(len(sigma) - 1):
        dx = x[k + 1] - x[k]
        s = jnp.clip((target - x[k]) / dx, 0.0, 1.0)
        out = [o + (f[k + 1] - f[k]) * s for o, f in zip(out, fields, strict=True)]
        phi = (
            phi
            + (geopotential[k + 1] - geopotential[k]) * s
            - 0.5 * R_DRY * (temperature[k + 1] - temperature[k]) * dx * s * (s - 1)
        )
    below = jnp.maximum(target - x[-1], 0.0)
    growth = jnp.exp(below * R_DRY * LAPSE / GRAVITY) - 1.0
    out[0] = out[0] + fields[0][-1] * growth
    phi = phi - GRAVITY * temperature[-1] / LAPSE * growth
    return out, phi


def mean_sea_level_pressure(surface_pressure, temperature_lowest, sigma_lowest, orography):
    """Reduce surface pressure (Pa) to mean sea level, as ECMWF's IFS does (documentation of cycle 47r1, part on full-position).

    `orography` (m) is the one that the dynamical core uses; it is truncated, so it rings below zero beside high mountains, and there
    the reduction goes upwards. The damped lapse rate over hot ground and the warmer start over very cold ground keep a fictitious
    column under a plateau from making a fictitious low.
    """
    t_surface = temperature_lowest * (1.0 / sigma_lowest) ** (R_DRY * LAPSE / GRAVITY)
    z = jnp.where(jnp.abs(orography) < 1.0, 1.0, orography)
    t_sea = t_surface + LAPSE * z
    hot = t_surface > 290.5
    lapse = jnp.where(hot, 0.0, jnp.where((t_sea > 290.5), jnp.clip((290.5 - t_surface) / z, 0.0, LAPSE), LAPSE))
    t_start = jnp.where(
        hot, 0.5 * (290.5 + t_surface), jnp.where(t_surface < 255.0, 0.5 * (255.0 + t_surface), t_surface)
    )
    x = GRAVITY * z / (R_DRY * t_start)
    y = lapse * z / t_start
    return surface_pressure * jnp.exp(x * (1.0 - y / 2.0 + y * y / 3.0))


def relative_humidity(specific_humidity, temperature, level_hpa):
    """Relative humidity (%) over water, from specific humidity (kg kg-1), temperature (K) and pressure (hPa).

    Saturation after Bolton (1980, equation 10): 6.112 exp(17.67 t / (t + 243.5)) hPa with t in degrees Celsius. Cut at 100.
    """
    t = temperature - 273.15
    saturation = 6.112 * jnp.exp(17.67 * t / (t + 243.5))
    vapour = specific_humidity * level_hpa / (0.622 + 0.378 * specific_humidity)
    return jnp.clip(100.0 * vapour / saturation, 0.0, 100.0)
