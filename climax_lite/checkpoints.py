"""Checkpoints by name: those that ship, files of your own, and the official ones from the model hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .data import sources
from .forecaster import Forecaster
from .model import from_official
from .variables import OFFICIAL_VARIABLES

OFFICIAL = {"5.625deg": 16, "1.40625deg": 16}
"""The published checkpoints in `tungnd/climax`, and their attention heads, which a checkpoint does not tell."""

SUFFIX = ".safetensors"


def shipped() -> tuple[str, ...]:
    """Names of the checkpoints that come with the project."""
    return tuple(Path(f).stem for f in sources.registered("checkpoints/") if f.endswith(SUFFIX))


def load(name: str | os.PathLike[str], **config: Any) -> Forecaster:
    """A forecaster with its weights.

    Args:
        name: one of

            - `tiny` and whatever else `shipped()` names: the checkpoints of the project, checked against their SHA-256;
            - the path of a file that `Forecaster.save` wrote, or of the folder of a finished run;
            - `tungnd/climax:5.625deg`: a published checkpoint of the official project, fetched once from the model hub (432 MB). It is a
              forecaster of full states without statistics: those of its data are not published with it.
        config: fields of `ClimaXConfig` to change, such as `dropout`; for a published checkpoint also `grid_shape`.

    Raises:
        ValueError: when there is no such checkpoint, no network to fetch it, or the file is damaged.
    """
    text = os.fspath(name)
    path = Path(text)
    if text in shipped():
        return Forecaster.load(sources.local(f"checkpoints/{text}{SUFFIX}"), **config)
    if path.is_dir():
        return Forecaster.load(path / f"forecaster{SUFFIX}", **config)
    if path.exists() or text.endswith(SUFFIX):
        return Forecaster.load(path, **config)
    repository, _, which = text.partition(":")
    if repository != "tungnd/climax" or which not in OFFICIAL:
        known = ", ".join([*shipped(), *(f"tungnd/climax:{w}" for w in OFFICIAL)])
        raise ValueError(f"unknown checkpoint {text!r}: expected the path of a file or of a run, or one of {known}")
    net = from_official(_fetch(repository, f"{which}.ckpt"), OFFICIAL_VARIABLES, OFFICIAL[which], **config)
    return Forecaster(net, anomalies=False, skip=False, about={"checkpoint": text}).eval()


def _fetch(repository: str, filename: str) -> str:
    by_hand = f"or fetch {filename} of {repository} elsewhere and read it with climax_lite.model.from_official"
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise ValueError(
            f"the model hub needs the package huggingface_hub: pip install huggingface_hub, {by_hand}"
        ) from None
    try:
        return hf_hub_download(repository, filename)
    except Exception as error:
        # The hub raises some twenty kinds of exception, for no network as for no such file.
        raise ValueError(
            f"{filename} of {repository} is not in the cache and could not be fetched ({type(error).__name__}): "
            f"try again with a network, {by_hand}"
        ) from error
