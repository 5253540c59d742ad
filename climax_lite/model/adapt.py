"""A pretrained network on variables or a grid that it has not seen: what it knows is kept, what it lacks starts as in a new network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor

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


def at_places(net: ClimaX, grid_shape: tuple[int, int], rows: Tensor, columns: Tensor) -> ClimaX:
    """The network on a part of the globe, or on other cells: every new patch gets the position embedding of the place where it lies.

    Args:
        net: on the whole globe.
        grid_shape: of the new grid; patches keep their number of cells.
        rows, columns: where the new rows and columns of patches lie, in old ones, from 0: 1.5 is midway between the second and the third.
            Rows beyond the outermost stay there; columns go round. Whole numbers take embeddings as they are, others interpolate.

    Raises:
        ValueError: for a grid that the patches do not divide, or a projection network, whose head has its grid built in.
    """
    if not isinstance(net.head, PatchHead):
        raise ValueError("expected a network that forecasts maps; the grid of a pooled head is fixed")
    other = ClimaX(dataclasses.replace(net.config, grid_shape=(grid_shape[0], grid_shape[1])))
    height, width = net.config.patches
    table = net.pos_embed.detach()[0].unflatten(0, (height, width))
    y, x = rows.clamp(0, height - 1), columns % width
    top, left = y.floor().long(), x.floor().long()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1) % width
    down, across = (y - top)[:, None, None], (x - left)[None, :, None]
    north_south = table[top] * (1 - down) + table[bottom] * down
    places = north_south[:, left] * (1 - across) + north_south[:, right] * across
    other.load_state_dict(net.state_dict() | {"pos_embed": places.flatten(0, 1)[None].float()})
    return other.train(net.training)


def for_projection(
    net: ClimaX, variables: Sequence[str], out_variables: Sequence[str], time_history: int = 10
) -> ClimaX:
    """A network for climate projection that knows what a network of forecasts has learned (Nguyen et al. 2023, section 4.4).

    Kept are the blocks, norms, aggregation, position and lead-time embeddings. New are the tokens and embeddings of the variables, which
    are forcings and no weather, the embeddings of the years, and the pooled head with its attention over the years. That is what the
    official code keeps; there it follows from which names and shapes fit.

    Args:
        net: on the grid of the forcings (`on_grid_shape` puts it there).
        variables: the forcings.
        out_variables: the climate that is predicted.
        time_history: T, years of forcing in a sample.
    """
    config = dataclasses.replace(
        net.config, variables=tuple(variables), out_variables=tuple(out_variables), time_history=time_history
    )
    other = ClimaX(config)
    new = ("tokenizer.", "head.", "time_pos_embed")
    kept = {name: tensor for name, tensor in net.state_dict().items() if not name.startswith(new)}
    other.load_state_dict(other.state_dict() | kept)
    return other.train(net.training)


def with_config(net: ClimaX, **changes: Any) -> ClimaX:
    """The same weights under another configuration that has the same tensors: `dropout`, `drop_path`, `encoder`, `checkpointing`."""
    other = ClimaX(ClimaXConfig(**{**dataclasses.asdict(net.config), **changes}))
    other.load_state_dict(net.state_dict())
    return other.train(net.training)
