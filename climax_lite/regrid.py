"""Regridding between latitude-longitude grids: conservative (first order) and bilinear.

On rectangular grids both are separable: with one small matrix for each direction, a field X (H, W) becomes
A_lat X A_lonᵀ (H', W'). A row of a matrix holds the shares of the source in one target row or column, and sums to the part of it that
the source covers: one on the globe, less at the rim of a crop, zero outside. Missing values are left out and the shares of the
others scaled up, so that a constant stays constant beside a coast.

The weights are our own because xarray-regrid 0.4.2 takes areas from cell centres and adds a row at each pole, so that the
mean of a temperature with a pole-to-equator contrast drifts by 0.01 K between T31 and 5.625°, where these keep it to rounding.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .grid import Grid

Field = TypeVar("Field", xr.Dataset, xr.DataArray)
Method = Literal["conservative", "bilinear"]
Matrix = NDArray[np.float64]

ROUNDING = 1e-4
"""By how much, in degrees or as a part of a cell, coordinates that were once float32 may miss an edge."""

BLOCK = 1 << 20
"""Values regridded at once, so that the copies in float64 stay within some tens of megabytes."""


def regrid(
    field: Field,
    target: Grid | xr.Dataset | xr.DataArray,
    method: Method = "conservative",
    *,
    skipna: bool = True,
    min_valid: float = 0.5,
) -> Field:
    """Put a dataset or an array on another grid.

    Take `conservative` for a coarser grid and for what is summed over areas (precipitation, fluxes): a target cell gets the mean over its
    area, and on the globe the area-weighted mean is kept. Take `bilinear` for smooth fields on a finer grid; a coarser one would only
    sample them. Winds are treated as scalars; beyond the outermost row bilinear keeps the value of that row.

    Args:
        field: with dimensions `lat` and `lon` among others, latitudes in either order; may be lazy (dask), and then stays so.
        target: a grid (south to north), or anything with the coordinates `lat` and `lon`, in whose order the result comes.
        skipna: leave missing values (NaN) out. If False, a target cell is NaN as soon as any of it is missing or not covered.
        min_valid: with `skipna`, the smallest valid part of a target cell (by area, or by bilinear weight) that still gives a value.
            What lies outside the source counts as missing.

    Returns:
        The same type, with names, attributes and order of dimensions kept; floats keep their precision (sums are in float64), other
        numbers become float64. Variables with only one of the two dimensions and coordinates that need them (`lat_bnds`, `area`)
        describe the old cells and are dropped.

    Raises:
        ValueError: for a wrong coordinate, an unknown method, `min_valid` out of range, infinite values, or a field that is not numbers.
    """
    if not 0 < min_valid <= 1:
        raise ValueError(f"expected min_valid above 0 and at most 1, got {min_valid}: it is a part of a cell")
    if missing := {"lat", "lon"} - set(field.dims):
        raise ValueError(f"expected the dimensions 'lat' and 'lon', got {tuple(field.dims)}: rename or add {missing}")
    source, source_descends = _grid(field)
    goal, goal_descends = (target, False) if isinstance(target, Grid) else _grid(target)
    lat, lon = weights(source, goal, method)
    rows, columns = (slice(None, None, -1 if descends else 1) for descends in (goal_descends, source_descends))
    lat = np.ascontiguousarray(lat[rows, columns])
    least = min_valid if skipna else 1.0

    new = {}
    for name, values in (("lat", goal.lat[rows]), ("lon", goal.lon)):
        described = field if isinstance(target, Grid) else target
        new[name] = (name, values, described[name].attrs)
    if isinstance(field, xr.DataArray):
        return _array(field, lat, lon, least).assign_coords(new)
    on_grid = {n: _array(a, lat, lon, least) for n, a in field.data_vars.items() if {"lat", "lon"} <= set(a.dims)}
    out = field.drop_dims(["lat", "lon"]).assign(on_grid)
    return out[[n for n in field.data_vars if n in out]].assign_coords(new)  # in the old order


def weights(source: Grid, target: Grid, method: Method = "conservative") -> tuple[Matrix, Matrix]:
    """The two matrices of a regridding: A_lat (H', H) and A_lon (W', W), for A_lat X A_lonᵀ.

    Each row sums to the part of its target row or column that the source covers; where that is less than one, divide by the sums.

    Raises:
        ValueError: for an unknown method, or a grid of a single row, which has no edges.
    """
    if method == "conservative":
        # Equal steps of sin φ have equal areas.
        lat = _overlap(*(np.sin(np.deg2rad(grid.lat_edges)) for grid in (source, target)))
        edges, goal = _lon_edges(source), _lon_edges(target)
        edges = edges + 360 * np.floor((goal[0] - edges[0]) / 360)
        # Two turns, so that every target cell lies within.
        return lat, _overlap(edges, goal) + _overlap(edges + 360, goal)
    if method == "bilinear":
        return _between(source.lat, target.lat, source.lat_edges), _between_meridians(source, target)
    raise ValueError(f"expected method 'conservative' or 'bilinear', got {method!r}")


def _grid(obj: xr.Dataset | xr.DataArray) -> tuple[Grid, bool]:
    """The grid of a dataset, from south to north, and whether the dataset has it from north to south."""
    lat = obj.coords.get("lat")
    descends = lat is not None and lat.ndim == 1 and lat.size > 1 and bool(lat[0] > lat[-1])
    return Grid.from_dataset(obj.sortby("lat") if descends else obj), descends


def _lon_edges(grid: Grid) -> NDArray[np.float64]:
    """(W + 1,) edges of the columns; round the globe they close exactly, whatever rounding the longitudes have seen."""
    edges = grid.lon_edges
    if grid.periodic:
        edges[0] = (grid.lon[-1] - 360 + grid.lon[0]) / 2
        edges[-1] = edges[0] + 360
    return edges


def _overlap(source: NDArray[np.float64], target: NDArray[np.float64]) -> Matrix:
    """(target, source) share of each target interval that each source interval covers; both are given by their edges."""
    low = np.maximum(source[:-1], target[:-1, None])
    high = np.minimum(source[1:], target[1:, None])
    return (high - low).clip(min=0) / np.diff(target)[:, None]


def _between(source: NDArray[np.float64], target: NDArray[np.float64], edges: NDArray[np.float64]) -> Matrix:
    """(target, source) linear weights of the two neighbouring points: the nearest one beyond the last, none beyond the edges."""
    right = np.searchsorted(source, target).clip(1, len(source) - 1)
    left = right - 1
    share = ((target - source[left]) / (source[right] - source[left])).clip(0, 1)
    matrix = np.zeros((len(target), len(source)))
    rows = np.arange(len(target))
    matrix[rows, left], matrix[rows, right] = 1 - share, share
    matrix[(target < edges[0] - ROUNDING) | (target > edges[-1] + ROUNDING)] = 0
    return matrix


def _between_meridians(source: Grid, target: Grid) -> Matrix:
    """(W', W) linear weights in longitude, round the globe if the source goes round it."""
    edges = _lon_edges(source)
    start = edges[0] - ROUNDING
    lon = (target.lon - start) % 360 + start
    if not source.periodic:
        return _between(source.lon, lon, edges)
    # The last column again in front of the first, and the first behind the last.
    wide = _between(np.concatenate([source.lon[-1:] - 360, source.lon, source.lon[:1] + 360]), lon, edges)
    matrix = wide[:, 1:-1]
    matrix[:, -1] += wide[:, 0]
    matrix[:, 0] += wide[:, -1]
    return matrix


def _array(array: xr.DataArray, lat: Matrix, lon: Matrix, least: float) -> xr.DataArray:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"expected numbers in {array.name}, got {array.dtype}: drop the variable or convert it")
    dtype = array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
    out = xr.apply_ufunc(
        _apply,
        array,
        kwargs={"lat": lat, "lon": lon, "least": least, "dtype": dtype},
        input_core_dims=[["lat", "lon"]],
        output_core_dims=[["lat", "lon"]],
        exclude_dims={"lat", "lon"},  # they change their size
        keep_attrs=True,
        dask="parallelized",
        output_dtypes=[dtype],
        dask_gufunc_kwargs={"output_sizes": {"lat": len(lat), "lon": len(lon)}, "allow_rechunk": True},
    )
    return out.transpose(*array.dims)


def _apply(x: NDArray, lat: Matrix, lon: Matrix, least: float, dtype: np.dtype) -> NDArray:
    """Both matrices on every field of x (..., H, W), over the valid and covered part of each target cell."""
    fields = x.reshape(-1, *x.shape[-2:])
    out = np.empty((len(fields), len(lat), len(lon)), dtype)
    covered = np.outer(lat.sum(axis=1), lon.sum(axis=1))
    step = max(1, BLOCK // max(fields[:1].size, out[:1].size, 1))
    for first in range(0, len(fields), step):
        block = fields[first : first + step].astype(np.float64)
        valid = ~np.isnan(block)
        share = covered
        if not valid.all():
            block[~valid] = 0  # NaN times a weight of zero would be NaN
            share = _product(valid.astype(np.float64), lat, lon)
        if np.isinf(block).any():
            raise ValueError("expected finite values or NaN, got infinite ones: mask them first")
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 where nothing is valid
            out[first : first + step] = np.where(
                share >= least * (1 - ROUNDING), _product(block, lat, lon) / share, np.nan
            )
    return out.reshape(*x.shape[:-2], *out.shape[1:])


def _product(x: Matrix, lat: Matrix, lon: Matrix) -> Matrix:
    """A_lat x A_lonᵀ of (n, H, W), in the order that takes fewer multiplications."""
    (rows, height), (columns, width) = lat.shape, lon.shape
    if rows * width * (height + columns) <= height * columns * (width + rows):
        return (lat @ x) @ lon.T
    return lat @ (x @ lon.T)
