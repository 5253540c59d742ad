"""Checkpoints by name: a file of ours, or an official one from the model hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .model import ClimaX, from_official
from .model import load as load_file
from .variables import OFFICIAL_VARIABLES

OFFICIAL = {"5.625deg": 16, "1.40625deg": 16}
"""The published checkpoints in `tungnd/climax`, and their attention heads, which a checkpoint does not tell."""


def load(name: str | os.PathLike[str], **config: Any) -> ClimaX:
    """A network with its weights.

    Args:
        name: the path of a file that `climax_lite.model.save` wrote, or a published checkpoint of the official project:
            `tungnd/climax:5.625deg`, which is fetched once from the model hub (432 MB).
        config: fields of `ClimaXConfig` to change, such as `dropout`; for a published checkpoint also `grid_shape`.

    Raises:
        ValueError: when there is no such checkpoint, no network to fetch it, or the file is damaged.
    """
    text = os.fspath(name)
    if Path(text).exists() or ":" not in text or text.endswith(".safetensors"):
        return load_file(text, **config)[0]
    repository, _, which = text.partition(":")
    if repository != "tungnd/climax" or which not in OFFICIAL:
        known = ", ".join(f"tungnd/climax:{w}" for w in OFFICIAL)
        raise ValueError(f"unknown checkpoint {text!r}: expected the path of a file, or one of {known}")
    return from_official(_fetch(repository, f"{which}.ckpt"), OFFICIAL_VARIABLES, OFFICIAL[which], **config)


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
