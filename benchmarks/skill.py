"""What the recorded results of training share: sources prepared once, short runs, and scores in normalised and in physical units."""

from __future__ import annotations

import functools
import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from climax_lite.data import LEADS, ForecastSamples, Record, ordered, statistics
from climax_lite.forecaster import Forecaster
from climax_lite.grid import Grid
from climax_lite.metrics import latitude_weights
from climax_lite.train import DataModule, Optimisation, Run, fit, new_network
from climax_lite.train.settings import Net

HERE = Path(__file__).parent
SHAPE = (32, 64)
GRID = Grid.regular(*SHAPE)
SOURCES = ("windy", "sunny", "rainy", "smooth", "dry")
SCORED = (6, 24, 72, 120, 168)
HEADLINES = ("geopotential_500", "temperature_850", "2m_temperature", "10m_u_component_of_wind")

record = functools.lru_cache(Record.prepared)


def samples(source: str, part: str = "train", leads: Sequence[int] | int = LEADS) -> ForecastSamples:
    """The samples of a split, its record decoded once."""
    return ForecastSamples.of(record(source, part), leads)


def variables() -> tuple[str, ...]:
    """All variables of the model worlds, so that networks trained on some of them are of one size."""
    return tuple(dict.fromkeys(v for s in SOURCES for v in samples(s).variables))


def trained(
    sources: Sequence[str], net: Net, optimisation: Optimisation, seed: int, batch_size: int = 16
) -> Forecaster:
    """A new network trained on some of the worlds, in a folder that is thrown away."""
    torch.manual_seed(seed)
    forecaster = Forecaster(new_network(net, variables()))
    data = DataModule({s: samples(s) for s in sources}, None, batch_size, seed=seed)
    out = tempfile.mkdtemp()
    try:
        run = Run(out=out, seed=seed, batch_size=batch_size, validate_every=0, save_every=10**9, progress=False)
        return fit(forecaster, data, optimisation, run, GRID)
    finally:
        shutil.rmtree(out)


def errors(
    predict: Callable[[torch.Tensor, torch.Tensor, Sequence[str], Sequence[str]], torch.Tensor],
    source: str,
    part: str,
    lead: int,
    count: int,
    known: Sequence[str] | None = None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Latitude-weighted squared errors (initial times, variables) in normalised units, at `count` initial times spread evenly."""
    r = record(source, part)
    out = tuple(v for v in r.variables if known is None or v in known)
    inputs = (*out, *(v for v in r.static_variables if known is None or v in known))
    chosen = ForecastSamples.of(r, lead, out, inputs).at_most(count)
    weights = latitude_weights(r.lat).float()[:, None]
    found = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for batch in ordered(chosen, 16):
            p = predict(batch.x, batch.lead_hours, batch.variables, batch.out_variables).float()
            found.append(((p - batch.y) ** 2 * weights).mean((-2, -1)))
    return torch.cat(found).numpy(), out


def rmse(squared: np.ndarray, names: Sequence[str], source: str) -> dict[str, float]:
    """The mean over initial times of the RMSE of each headline variable, in its units."""
    s = statistics(source, grid_shape=SHAPE)
    scale = dict(zip(s.variables, s.anomaly_std, strict=True))
    return {v: float(np.sqrt(squared[:, names.index(v)]).mean() * scale[v]) for v in HEADLINES if v in names}


def persistence_of_state(source: str, part: str, lead: int, count: int) -> dict[str, float]:
    """The RMSE of the initial state as the forecast: in anomaly space the climatology's own change comes on top."""
    from climax_lite.data import open as open_data
    from climax_lite.data import split

    r = record(source, part)
    chosen = ForecastSamples.of(r, lead).at_most(count)
    truth = open_data(source, list(HEADLINES)).sel(time=split(source, part)).load()
    weights = np.asarray(latitude_weights(r.lat))[:, None]
    out = {}
    for v in HEADLINES:
        now, later = truth[v].values[chosen.initial], truth[v].values[chosen.valid[:, 0]]
        out[v] = float(np.sqrt((((later - now) ** 2) * weights).mean((-2, -1))).mean())
    return out


def machine() -> str:
    """For the header of a result."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{cpu}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
