"""A pretrained network on variables or a grid that it has not seen: what it knows is kept, what it lacks starts as in a new network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from .climax import ClimaX, ClimaXConfig
from .embed import interpolate_positions
from .head import PatchHead


def with_variables(net: ClimaX, variables: Sequence[str]) -> ClimaX:
    """The network with further variables: new token embeddings and rows of the head for those that it does not know, appended in order.

    Variables that it knows keep their weights, so on them it gives the same forecasts as before.

    Raises:
        ValueError: for a projection network, whose head has no row per input variable.
    """
    new = [v for v in variables if v not in net.config.variables]
    if not new:
        return net
    if not isinstance(net.head, PatchHead):
        raise ValueError("expected a network that forecasts maps; one with a pooled head predicts fixed variables")
    wide = ClimaX(dataclasses.replace(net.config, variables=(*net.config.variables, *new)))
    old = len(net.config.variables)
    state, mine = net.state_dict(), wide.state_dict()
    last = f"head.{len(net.head) - 1}"
    for name, tensor in state.items():
        if name in ("tokenizer.weight", "tokenizer.bias", "tokenizer.embedding"):
            mine[name][:old] = tensor
        elif name in (f"{last}.weight", f"{last}.bias"):
            # Rows run over pixels, the variable fastest.
            mine[name].unflatten(0, (-1, old + len(new)))[:, :old] = tensor.unflatten(0, (-1, old))
        else:
            mine[name] = tensor
    wide.load_state_dict(mine)
    return wide.train(net.training)


def on_grid_shape(net: ClimaX, grid_shape: tuple[int, int]) -> ClimaX:
    """The network on another grid, patches of the same number of cells: the position embedding is interpolated, all else stays.

    Raises:
        ValueError: for a grid that the patches do not divide, or a projection network, whose head has its grid built in.
    """
    grid_shape = (grid_shape[0], grid_shape[1])
    if grid_shape == net.config.grid_shape:
        return net
    if not isinstance(net.head, PatchHead):
        raise ValueError("expected a network that forecasts maps; the grid of a pooled head is fixed")
    other = ClimaX(dataclasses.replace(net.config, grid_shape=grid_shape))
    state = net.state_dict()
    state["pos_embed"] = interpolate_positions(state["pos_embed"], net.config.patches, other.config.patches)
    other.load_state_dict(state)
    return other.train(net.training)


def with_config(net: ClimaX, **changes: Any) -> ClimaX:
    """The same weights under another configuration that has the same tensors: `dropout`, `drop_path`, `encoder`, `checkpointing`."""
    other = ClimaX(ClimaXConfig(**{**dataclasses.asdict(net.config), **changes}))
    other.load_state_dict(net.state_dict())
    return other.train(net.training)
