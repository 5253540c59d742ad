"""Small worlds with the schema of the real ones, and settings that train on them in a blink."""

import dataclasses

import numpy as np

from climax_lite.data import ForecastSamples, Record
from climax_lite.forecaster import Forecaster
from climax_lite.grid import Grid
from climax_lite.train import DataModule, Net, Optimisation, Run, fit, new_network

SHAPE = (8, 16)
GRID = Grid.regular(*SHAPE)
WIND = ("10m_u_component_of_wind", "2m_temperature", "geopotential_500")
DRY = ("2m_temperature", "temperature_850")
ALL = ("orography", "2m_temperature", "10m_u_component_of_wind", "geopotential_500", "temperature_850")
LEADS = (6, 12, 24)
NET = Net(SHAPE, patch_size=4, embed_dim=16, depth=2, num_heads=2, dropout=0.1, drop_path=0.3)
RUN = Run(precision="32-true", accelerator="cpu", progress=False, batch_size=4, validate_every=0, save_every=3)
FAST = Optimisation(steps=12, learning_rate=3e-3, warmup_steps=2, ema_decay=0.0)


def record(name="windy", times=30, variables=WIND, seed=0):
    """A first-order autoregressive process at every cell, of unit variance, and a map."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((times, len(variables), *SHAPE)).astype(np.float32)
    for t in range(1, times):
        values[t] = 0.9 * values[t - 1] + np.float32(1 - 0.9**2) ** 0.5 * values[t]
    return Record(
        values=values,
        static=rng.standard_normal((1, *SHAPE)).astype(np.float32),
        variables=variables,
        static_variables=("orography",),
        times=np.datetime64("1985-01-01", "ns") + np.arange(times) * np.timedelta64(6, "h"),
        lat=GRID.lat,
        lon=GRID.lon,
        name=name,
    )


def samples(name="windy", **how):
    return ForecastSamples.of(record(name, **how), LEADS)


def data(batch_size=4, validation=True, workers=0, seed=0):
    """Two worlds with different variables: 29 and 19 samples, so that an epoch of the mixture is thirteen batches of four."""
    train = {"windy": samples(), "dry": samples("dry", times=20, variables=DRY, seed=1)}
    held_out = samples("held out", times=12, seed=2) if validation else None
    return DataModule(train, held_out, batch_size, seed=seed, workers=workers)


def forecaster(seed=0, variables=ALL, net=NET, **how):
    import torch

    torch.manual_seed(seed)
    return Forecaster(new_network(net, variables), **how)


def train(out, optimisation=FAST, run=RUN, batch_size=4, validation=True, workers=0, net=NET, **how):
    """A run on the two worlds."""
    return fit(
        forecaster(net=net),
        data(batch_size, validation, workers),
        optimisation,
        dataclasses.replace(run, out=str(out), batch_size=batch_size),
        GRID,
        **how,
    )


def weights(f):
    return {k: v.detach().clone() for k, v in f.state_dict().items()}
