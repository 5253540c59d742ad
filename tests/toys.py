"""Small worlds and forecasters whose forecasts can be computed by hand."""

from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from climax_lite.data import Climatology, Statistics
from climax_lite.forecaster import Forecaster
from climax_lite.grid import Grid
from climax_lite.model import ClimaX, ClimaXConfig
from climax_lite.variables import variable

GRID = Grid.regular(4, 8)
T, Z, ORO = "2m_temperature", "geopotential_500", "orography"
MEAN, SEASON, UNIT = {T: 280.0, Z: 50000.0}, {T: 10.0, Z: 0.0}, {T: 2.0, Z: 400.0}


def season(times) -> np.ndarray:
    """cos of the time of year."""
    days = (times - times.astype("datetime64[Y]")) / np.timedelta64(1, "D")
    return np.cos(2 * np.pi * days / 365.2425)


def normal(name: str, times) -> np.ndarray:
    """The climatology by hand, (T, 1, 1): the mean and an annual cosine."""
    return (MEAN[name] + SEASON[name] * season(np.asarray(times)))[..., None, None]


def statistics(names=(T, Z, ORO)) -> Statistics:
    """Means, units and the climatology `normal`, at 00, 06, 12 and 18 UTC."""
    data = {}
    for n in names:
        if n in MEAN:
            values = np.zeros((4, 5, *GRID.shape), "float32")
            values[:, 0], values[:, 1] = MEAN[n], SEASON[n]
            data[n] = (("hour", "harmonic", "lat", "lon"), values, variable(n).attrs)
    coefficients = xr.Dataset(data, {"hour": [0, 6, 12, 18], "lat": GRID.lat, "lon": GRID.lon})
    mean = np.array([MEAN.get(n, 0.0) for n in names])
    unit = np.array([UNIT.get(n, 1.0) for n in names])
    return Statistics(
        tuple(names), mean, 5 * unit, unit, Climatology(coefficients), ("1985-01-01", "1985-12-31"), "0" * 64, "toy"
    )


def still_net(names=(T, Z, ORO)) -> ClimaX:
    """A network that answers zero."""
    net = ClimaX(ClimaXConfig(tuple(names), GRID.shape, 2, embed_dim=8, depth=1, num_heads=2))
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    return net


class Halves(nn.Module):
    """Half of what it gets, plus the orography, whatever the lead time."""

    def __init__(self, names=(T, Z, ORO)):
        super().__init__()
        self.config = ClimaXConfig(tuple(names), GRID.shape, 2, embed_dim=8, depth=1, num_heads=2)
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, lead_hours, variables, out_variables, patch_ids=None):
        out = self.factor * x[:, [variables.index(v) for v in out_variables]]
        return out + x[:, [variables.index(ORO)]] if ORO in variables else out


def damped(tau=(60.0, 30.0, 1.0)) -> Forecaster:
    """A forecaster whose network answers zero: damped persistence with these times (hours)."""
    forecaster = Forecaster(still_net(), statistics=statistics())
    with torch.no_grad():
        forecaster.log_tau.copy_(torch.tensor(tau).log())
    return forecaster


def states(times, anomaly=1.0, names=(T, Z, ORO)) -> xr.Dataset:
    """States that lie `anomaly` units above the climatology everywhere, over an orography of 3."""
    times = np.atleast_1d(np.asarray(times, "datetime64[ns]"))
    one = np.ones((len(times), *GRID.shape))
    data = {
        n: (("time", "lat", "lon"), (normal(n, times) + anomaly * UNIT[n] * one).astype("float32"))
        for n in names
        if n in MEAN
    }
    if ORO in names:
        data[ORO] = (("lat", "lon"), np.full(GRID.shape, 3.0, "float32"))
    ds = xr.Dataset(data, {"time": times, "lat": GRID.lat, "lon": GRID.lon})
    for n in ds.data_vars:
        ds[n].attrs = variable(str(n)).attrs
    return ds


def own_world(folder: Path, hours: int = 12) -> str:
    """A year and four months of states in a NetCDF file, as a source: waves that run eastwards, on the grid of four by eight."""
    times = np.arange("1985-01-01", "1986-05-01", np.timedelta64(hours, "h"), dtype="datetime64[ns]")
    t = ((times - times[0]) / np.timedelta64(1, "h"))[:, None, None]
    wave = np.sin(np.deg2rad(GRID.lon) - 2 * np.pi * t / 171) * np.cos(np.deg2rad(GRID.lat))[:, None]
    ds = states(times, 0.0)
    for n in (T, Z):
        ds[n] = (ds[n] + UNIT[n] * wave).astype("float32").assign_attrs(variable(n).attrs)
    folder.mkdir(parents=True, exist_ok=True)
    ds.to_netcdf(folder / "toy.nc")
    return f"{folder / 'toy.nc'}?train=1985,validation=1986-01,test=1986-03/1986-04"
