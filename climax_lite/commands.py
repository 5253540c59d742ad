"""`climax-lite pretrain`, `finetune`, `project`, `downscale`, `evaluate`, `forecast`: from words on the command line to calls.

Help needs neither torch nor Lightning: what is heavy is imported when there is something to do.

A run's settings come from three places, each over the one before it: the YAML file, the tier of that file, the command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

if TYPE_CHECKING:
    from .forecaster import Forecaster

_PRETRAIN = """\
Pretrain a new network on many simulated worlds.

examples:
  climax-lite pretrain configs/pretrain.yaml --tier tiny
  climax-lite pretrain configs/pretrain.yaml --tier tiny --optimisation.steps 1000 --run.out runs/short
  climax-lite pretrain configs/pretrain.yaml --tier colab --sources '[windy, sunny]' --print_config

The result is OUT/forecaster.safetensors. A run that was stopped goes on when the same command is given again."""

_FINETUNE = """\
Fine-tune a checkpoint on one world; the weights with the best validation loss are kept.

examples:
  climax-lite finetune configs/global_forecasting.yaml --tier tiny
  climax-lite finetune configs/global_forecasting.yaml --tier tiny --checkpoint runs/pretrain --policy frozen
  climax-lite finetune configs/global_forecasting.yaml --tier tiny --checkpoint '' --run.out runs/scratch     (the control)
  climax-lite finetune configs/regional_forecasting.yaml --tier tiny

The result is OUT/forecaster.safetensors. A run that was stopped goes on when the same command is given again."""

_PROJECT = """\
Train a network that projects the climate from ten years of forcings (ClimateBench).

examples:
  climax-lite project configs/projection.yaml --tier tiny
  climax-lite project configs/projection.yaml --tier tiny --checkpoint '' --policy full --run.out runs/scratch     (the control)

The result is OUT/forecaster.safetensors, which climax_lite.tasks.projection.ClimateEmulator.load reads."""

_DOWNSCALE = """\
Train a network that makes fine maps of coarse ones.

examples:
  climax-lite downscale configs/downscaling.yaml --tier tiny
  climax-lite downscale configs/downscaling.yaml --tier tiny --checkpoint '' --run.out runs/scratch     (the control)

The result is OUT/forecaster.safetensors, which climax_lite.tasks.downscaling.Downscaler.load reads."""

_EVALUATE = """\
Score checkpoints beside persistence, climatology and damped persistence.

examples:
  climax-lite evaluate tiny
  climax-lite evaluate runs/finetune runs/scratch --leads 24 72 120 --out scores.csv
  climax-lite evaluate runs/regional --task regional

Prints a table of the mean score over the initial times, each with its 95 % interval; a star marks the best of a column."""

_FORECAST = """\
Make a forecast from a checkpoint and an initial state, and write it as NetCDF or zarr with CF names.

examples:
  climax-lite forecast tiny --initial reference --time 1986-07-01T00 --leads 6 24 72 --out fc.nc
  climax-lite forecast runs/finetune --initial analysis.nc --leads 24 48 --variables z500 t2m --out fc.zarr
  climax-lite forecast runs/finetune --initial reference --time 1986-07-01T00 --method rollout --step 6 --leads 240 --out fc.nc"""


# ---------------------------------------------------------------- training


def pretrain(argv: Sequence[str]) -> int:
    """The command `climax-lite pretrain`."""
    from .train.settings import Pretrain

    return _train("pretrain", Pretrain, _PRETRAIN, argv, "train", "pretrain")


def finetune(argv: Sequence[str]) -> int:
    """The command `climax-lite finetune`."""
    from .train.settings import Finetune

    return _train("finetune", Finetune, _FINETUNE, argv, "train", "finetune")


def project(argv: Sequence[str]) -> int:
    """The command `climax-lite project`."""
    from .tasks.settings import Projection

    return _train("project", Projection, _PROJECT, argv, "tasks.projection", "train")


def downscale(argv: Sequence[str]) -> int:
    """The command `climax-lite downscale`."""
    from .tasks.settings import Downscaling

    return _train("downscale", Downscaling, _DOWNSCALE, argv, "tasks.downscaling", "train")


def _train(name: str, kind: type, text: str, argv: Sequence[str], room: str, function: str) -> int:
    settings = read_settings(name, kind, text, argv)
    if settings is None:
        return 0
    if settings.run.tensorboard and not importlib.util.find_spec("tensorboard"):
        raise ImportError("tensorboard", name="tensorboard")  # before the data are prepared
    try:
        getattr(importlib.import_module(f".{room}", __package__), function)(settings)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning ends an interrupted run so
            raise KeyboardInterrupt from None
        raise
    from lightning.pytorch.utilities import rank_zero_only

    if getattr(rank_zero_only, "rank", 0) == 0:
        scores = f"; 'climax-lite evaluate {settings.run.out}' scores it" if room == "train" else ""
        print(f"{settings.run.out}/forecaster.safetensors is whole{scores}")
    return 0


def read_settings(name: str, kind: type, text: str, argv: Sequence[str]) -> Any:
    """The settings of a run from `[CONFIG.yaml] [--tier NAME] [--SETTING VALUE ...]`, or None when they were only to be printed.

    Raises:
        ValueError: for a file, a tier, a setting or a value that is wrong.
    """
    words = list(argv)
    config = words.pop(0) if words and not words[0].startswith("-") else None
    ours = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    ours.add_argument("--tier")
    ours.add_argument("--print_config", action="store_true")
    try:
        first, words = ours.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None
    parser = _parser(name, text, "%(prog)s [CONFIG.yaml] [--tier NAME] [--SETTING VALUE ...] [--print_config]")
    parser.add_class_arguments(kind)
    known = list(parser.get_defaults().clone().keys())
    if config is not None or first.tier is not None:
        merged = _flat(_merged(config, first.tier))
        for key in merged:
            if key not in known:
                raise ValueError(f"{config}: unknown setting {key!r}{_near(key, known)}")
        # As words before the user's own, so that both are checked alike, and the last one counts.
        words = [f"--{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in merged.items()] + words
    found = _parsed(parser, words, known)
    made = parser.instantiate(found) if hasattr(parser, "instantiate") else parser.instantiate_classes(found)
    settings = kind(**{field.name: made[field.name] for field in dataclasses.fields(kind)})
    if first.print_config:
        print(parser.dump(found), end="")
        return None
    return settings


def _merged(config: str | None, tier: str | None) -> dict[str, Any]:
    """The settings of a YAML file with those of one of its `tiers` laid over them."""
    import yaml

    if config is None:
        raise ValueError(f"expected the YAML file that has the tier {tier!r} before it, such as configs/pretrain.yaml")
    try:
        tree = yaml.safe_load(Path(config).read_text())
    except OSError as error:
        raise ValueError(
            f"{config} could not be read ({error.strerror}): give a YAML file, such as those in configs/"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{config} is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{config}: expected settings such as 'seed: 0', got {type(tree).__name__}")
    tiers = tree.pop("tiers", None) or {}
    if tier is None:
        return tree
    if tier not in tiers:
        raise ValueError(
            f"{config} has no tier {tier!r}: expected {' or '.join(tiers) or 'no --tier, since it has none'}"
        )
    return _over(tree, tiers[tier] or {})


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _over(out[key], value) if both else value
    return out


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


# ---------------------------------------------------------------- scores and forecasts


def evaluate(argv: Sequence[str]) -> int:
    """The command `climax-lite evaluate`."""
    parser = _parser("evaluate", _EVALUATE)
    add = parser.add_argument
    add("checkpoints", nargs="+", help="names or paths that climax_lite.load takes, such as the folder of a run")
    add(
        "--task",
        type=str,
        help="global, regional, 'weeks 3-4' or 'weeks 5-6': where nothing else is said, its leads, variables and region",
    )
    add(
        "--source",
        default="reference",
        help="the world that is forecast, or your own: 'era5.zarr?train=1979/2015,test=2017/2018'",
    )
    add("--split", default="test", help="the part of it that is scored")
    add("--leads", type=float, nargs="+", help="lead times in hours; by default 6 24 72 120 168")
    add("--variables", type=str, nargs="+", help="names or aliases (z500 t2m); by default Z500, T850, T2m and U10")
    add("--metrics", type=str, nargs="+", default=["rmse", "acc", "bias"], help="some of rmse, mse, bias, acc")
    add("--every", type=int, default=30, help="hours between initial times")
    add("--region", type=str, help="score this box alone, such as NorthAmerica; by default what is forecast")
    add("--out", type=str, help="also write the scores: .csv, or with those of every initial time .nc or .zarr")
    _common(parser)
    a = _parsed(parser, argv)
    _writable(a.out, (".csv", ".nc", ".zarr"), a.overwrite)
    from . import evaluate as room
    from .inference import write

    models = {name: _load(name) for name in a.checkpoints}
    task = _task(a.task) if a.task else None
    window = _same({m.window for m in models.values()}, "windows")
    if task and task.window != window:
        raise ValueError(
            f"the task {task.name!r} is about the window {task.window}, and these checkpoints give {window}"
        )
    regions = {m.region for m in models.values() if m.region}
    card = room.evaluate(
        {_short(name, a.checkpoints): model for name, model in models.items()}, a.source, a.split,
        a.leads or (task.leads if task else (6, 24, 72, 120, 168)), a.variables or (task.out_variables if task else None), a.metrics,
        a.every, region=a.region or (task.region if task else None) or (_same(regions, "regions") if regions else None), window=window,
        baselines=task.baselines if task else room.BASELINES[:3], method=a.method, step_hours=a.step, batch_size=a.batch_size,
        autocast=_dtype(a.bf16), progress=True,
    )  # fmt: skip
    for key in ("source", "split", "initial_times", "region", "window", "method"):
        print(f"{key.replace('_', ' ')}: {card.attrs[key]}")
    for metric in a.metrics:
        print(f"\n{room.table(card, metric)}")
    if a.out:
        if a.out.endswith(".csv"):
            room.to_csv(card, a.out, a.overwrite)
        else:
            write(card, a.out, a.overwrite)
        print(f"\n{a.out} is whole")
    return 0


def _task(name: str) -> Any:
    from .tasks import task

    return task(name)


def _same(found: set[Any], what: str) -> Any:
    if len(found) > 1:
        raise ValueError(f"expected checkpoints of one kind, got {what} {', '.join(map(str, found))}: score them apart")
    return next(iter(found))


def forecast(argv: Sequence[str]) -> int:
    """The command `climax-lite forecast`."""
    parser = _parser("forecast", _FORECAST)
    add = parser.add_argument
    add("checkpoint", help="a name or path that climax_lite.load takes, such as the folder of a run")
    add("--initial", default="reference", help="an embedded world, weatherbench2, or files: NetCDF, zarr or GRIB")
    add(
        "--time",
        type=str,
        nargs="+",
        help="initial times (UTC), such as 1986-07-01T00; not needed where there is only one",
    )
    add("--leads", type=float, nargs="+", help="lead times in hours; by default 24 72 120")
    add("--variables", type=str, nargs="+", help="names or aliases (z500 t2m); by default all that it predicts")
    add(
        "--statistics",
        type=str,
        help="the world whose statistics a checkpoint takes that was not fine-tuned; by default --initial",
    )
    add("--out", default="forecast.nc", help="what to write, .nc or .zarr; it appears whole or not at all")
    _common(parser)
    a = _parsed(parser, argv)
    _writable(a.out, (".nc", ".zarr"), a.overwrite)
    from . import inference
    from .data import open as open_data

    forecaster = _load(a.checkpoint)
    if forecaster.statistics is None:
        _take_statistics(forecaster, a.statistics or a.initial)
    states = _states(open_data(a.initial), a.time, a.initial)
    fc = inference.forecast(
        forecaster,
        states,
        a.leads or ([sum(forecaster.window) / 2] if forecaster.window else [24, 72, 120]),
        a.variables,
        a.method,
        a.step,
        batch_size=a.batch_size,
        autocast=_dtype(a.bf16),
        progress=True,
    )
    fc.attrs["source"] += f"; checkpoint {a.checkpoint}; initial states of {a.initial}"
    inference.write(fc, a.out, a.overwrite)
    sizes = fc.sizes
    print(
        f"{a.out}: {len(fc.data_vars)} variables, {sizes['time']} initial times, {sizes['prediction_timedelta']} lead times"
    )
    return 0


def _common(parser: ArgumentParser) -> None:
    parser.add_argument("--method", default="direct", help="direct: every lead time at once; rollout: step by step")
    parser.add_argument("--step", type=float, help="hours of a step of the rollout; by default the shortest lead time")
    parser.add_argument("--batch_size", type=int, default=16, help="states that go through the network together")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16: faster where the machine has it")
    parser.add_argument("--overwrite", action="store_true", help="replace what --out names")


def _take_statistics(forecaster: Forecaster, name: str) -> None:
    """A checkpoint that was pretrained on many worlds takes the statistics of the one that it is to forecast."""
    from .data import SOURCES, statistics

    if name in SOURCES or "?" in name:
        forecaster.statistics = statistics(name, grid_shape=forecaster.config.grid_shape)
        return
    raise ValueError(
        f"this checkpoint was pretrained on many worlds and has the statistics of none: give --statistics with one of {', '.join(SOURCES)} "
        "or a record of a year or more, such as era5.zarr?train=1979/2015, or fine-tune it"
    )


def _states(ds: Any, times: Sequence[str] | None, name: str) -> Any:
    """The initial states at the given times of a dataset."""
    import numpy as np

    if "time" not in ds.dims or not ds.sizes["time"]:
        raise ValueError(f"{name} has no times: expected states with a time")
    have = ds["time"].values
    span = f"{len(have)} times from {have[0]!s:.16} to {have[-1]!s:.16}"
    if times is None and len(have) > 1:
        raise ValueError(f"{name} has {span}: choose with --time")
    index = []
    for time in times or []:
        try:
            wanted = np.datetime64(time) if have.dtype != object else _in_calendar(time, have[0])
        except ValueError:
            raise ValueError(f"expected a time such as 1986-07-01T00, got {time!r}") from None
        nearest = int(np.argmin([abs(h - wanted) for h in have]))
        if have[nearest] != wanted:
            raise ValueError(f"{name} has no time {time}, the nearest is {have[nearest]!s:.16}; it has {span}")
        index.append(nearest)
    return ds.isel(time=index) if index else ds


def _in_calendar(time: str, like: Any) -> Any:
    """A time of day and hour in the calendar of a `cftime` object."""
    return type(like).strptime(f"{time}T00"[:13], "%Y-%m-%dT%H", calendar=like.calendar)


def _load(name: str) -> Forecaster:
    import torch

    from .checkpoints import load

    forecaster = load(name)
    return forecaster.to("cuda" if torch.cuda.is_available() else "cpu")


def _short(name: str, names: Sequence[str]) -> str:
    """The last part of a path, if that tells it from the others."""
    parts = [Path(n).name for n in names]
    return Path(name).name if parts.count(Path(name).name) == 1 else name


def _dtype(bf16: bool) -> Any:
    import torch

    return torch.bfloat16 if bf16 else None


def _writable(out: str | None, endings: tuple[str, ...], overwrite: bool) -> None:
    """Refuse a name that cannot be written to before the work, not after it."""
    if out is None:
        return
    if not out.endswith(endings):
        raise ValueError(f"expected --out to end in {' or '.join(endings)}, got {out!r}")
    if Path(out).exists() and not overwrite:
        raise ValueError(f"{out} exists: give another --out, or --overwrite")


# ---------------------------------------------------------------- parsing


class _Help(DefaultHelpFormatter):
    """Examples keep their lines, and a group of settings is no setting itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"width": 110, "max_help_position": 34, **kwargs})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.splitlines(keepends=True))

    def add_argument(self, action: argparse.Action) -> None:
        if action.metavar != "CONFIG":
            super().add_argument(action)


def _parser(name: str, text: str, usage: str | None = None) -> ArgumentParser:
    return ArgumentParser(
        prog=f"climax-lite {name}",
        usage=usage,
        description=text,
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,
    )


def _parsed(parser: ArgumentParser, argv: Sequence[str], known: Sequence[str] = ()) -> Any:
    """Parse, or say in one sentence what is wrong."""
    try:
        return parser.parse_args(list(argv))
    except ArgumentError as error:
        sentence = " ".join(str(error).split())
        options = [w.partition("=")[0].lstrip("-") for w in argv if w.startswith("--")]
        hint = next((_near(o, known) for o in options if known and o not in known), "")
        raise ValueError(f"{sentence}{hint}; --help lists what there is") from None


def _near(word: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(word, known, n=2)
    return f": did you mean {' or '.join(found)}?" if found else ""
