"""Maps and figures in the book's style. Coastlines come from `data/natural_earth`: no map ever reaches for the network."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import cartopy
import cartopy.crs as ccrs
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from cycler import cycler
from matplotlib.figure import Figure

from .data.sources import data_folder
from .grid import Grid
from .variables import variable

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
"""Lines, in this order: the palette of Okabe and Ito (2008), which stays distinct under every form of colour blindness."""


def use_style() -> None:
    """Set matplotlib to the book's style: quiet axes, colours for every eye, figures as wide as the page."""
    mpl.rcParams.update(
        {
            "figure.figsize": (7.0, 3.8),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "axes.prop_cycle": cycler(color=COLORS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E5E5E5",
            "axes.titlesize": "medium",
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "font.size": 10,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "image.cmap": "viridis",
        }
    )


def map(
    field: xr.DataArray,
    *,
    ax: Any = None,
    title: str | None = None,
    cmap: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    center: float | None = None,
    colorbar: bool = True,
    label: str | None = None,
    projection: ccrs.Projection | None = None,
) -> Any:
    """Draw one field on a map with coastlines.

    Args:
        field: (lat, lon) with coordinates in degrees; a field that does not go round the globe is drawn on its own box.
        ax: cartopy axes to draw into; new ones by default.
        title: by default the variable's name and the time.
        center: the value in the middle of a diverging colour scale (0 for anomalies), which is then symmetric about it.
        label: of the colour bar; by default the units.
        projection: Robinson for the globe and plate carrée for a box by default.

    Returns:
        The cartopy axes (`GeoAxes`); their figure is `ax.figure`.

    Raises:
        ValueError: when the field has other dimensions than latitude and longitude.
    """
    field = _two_dimensional(field)
    grid = Grid.from_dataset(field)
    if ax is None:
        figure = plt.figure(figsize=(7.0, 3.7) if grid.periodic else (5.8, 4.0))
        ax = figure.add_subplot(projection=projection or _projection(grid))
    values = field.values
    if center is not None:
        reach = max(abs((vmin if vmin is not None else float(np.nanmin(values))) - center),
                    abs((vmax if vmax is not None else float(np.nanmax(values))) - center))  # fmt: skip
        vmin, vmax, cmap = center - reach, center + reach, cmap or "RdBu_r"
    mesh = ax.pcolormesh(
        grid.lon_edges,
        grid.lat_edges,
        values,
        cmap=cmap,
        vmin=vmin,
        vmax=vmax,
        transform=ccrs.PlateCarree(),
        rasterized=True,
    )
    if grid.periodic:
        ax.set_global()
    else:
        ax.set_extent(
            [grid.lon_edges[0], grid.lon_edges[-1], grid.lat_edges[0], grid.lat_edges[-1]], ccrs.PlateCarree()
        )
    coastlines(ax, "110m" if grid.periodic else "50m")
    ax.set_title(_title(field) if title is None else title)
    if colorbar:
        bar = ax.figure.colorbar(mesh, ax=ax, shrink=0.75, pad=0.03)
        bar.set_label(_pretty(field.attrs.get("units", "")) if label is None else label)
        bar.outline.set_visible(False)
    return ax


def maps(
    fields: Sequence[xr.DataArray],
    *,
    titles: Sequence[str] | None = None,
    columns: int = 2,
    share_scale: bool = True,
    cmap: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    center: float | None = None,
    label: str | None = None,
) -> Figure:
    """Draw several fields side by side, by default on one colour scale, so that they can be compared."""
    fields = [_two_dimensional(f) for f in fields]
    if not fields:
        raise ValueError("expected at least one field to draw, got none")
    if titles is not None and len(titles) != len(fields):
        raise ValueError(f"expected one title for each of {len(fields)} fields, got {len(titles)}")
    if share_scale:
        vmin = min(float(f.min()) for f in fields) if vmin is None else vmin
        vmax = max(float(f.max()) for f in fields) if vmax is None else vmax
    columns = min(columns, len(fields))
    rows = -(-len(fields) // columns)
    projection = _projection(Grid.from_dataset(fields[0]))
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(8.0, 2.35 * rows + 0.3) if columns > 1 else (7.0, 3.5 * rows),
        subplot_kw={"projection": projection},
        squeeze=False,
    )
    drawn = []
    for i, ax in enumerate(axes.flat):
        if i >= len(fields):
            ax.set_visible(False)
            continue
        map(fields[i], ax=ax, title=None if titles is None else titles[i], cmap=cmap, vmin=vmin, vmax=vmax, center=center,
            colorbar=not share_scale, label=label)  # fmt: skip
        drawn.append(ax)
    if share_scale:
        bar = figure.colorbar(drawn[0].collections[0], ax=drawn, shrink=0.8, pad=0.02, aspect=30)
        bar.set_label(_pretty(fields[0].attrs.get("units", "")) if label is None else label)
        bar.outline.set_visible(False)
    return figure


def scorecard(card: xr.Dataset, baseline: str = "climatology", metric: str = "rmse", reach: float = 30.0) -> Figure:
    """A scorecard as a picture, after WeatherBench: how much smaller or larger the error is than that of a baseline.

    One panel for each variable, a row for each model, a column for each lead time; blue is better than the baseline, red worse, and every
    cell holds its number.

    Args:
        card: of `climax_lite.evaluate`, dimensions (model, variable, lead, metric).
        baseline: the model that the others are measured against.
        metric: an error, of which less is better.
        reach: percent at which the colours end.

    Raises:
        ValueError: when the scorecard lacks the baseline or the metric.
    """
    for dim, wanted in (("model", baseline), ("metric", metric)):
        if wanted not in (names := (_names(card[dim]))):
            raise ValueError(f"expected a {dim} of this scorecard, {', '.join(names)}, got {wanted!r}")
    score = card["score"].sel(metric=metric)
    change = 100 * (score / score.sel(model=baseline) - 1).drop_sel(model=baseline)
    rows, columns, panels = (change.sizes[d] for d in ("model", "lead", "variable"))
    across = min(2, panels)
    figure, axes = plt.subplots(
        -(-panels // across),
        across,
        figsize=(8.0 if across > 1 else 5.0, -(-panels // across) * (0.32 * rows + 0.75)),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for ax in axes.flat[panels:]:
        ax.set_visible(False)
    for ax, v in zip(axes.flat, change["variable"].values, strict=False):
        values = change.sel(variable=v).transpose("model", "lead").values
        mesh = ax.pcolormesh(values, cmap="RdBu_r", vmin=-reach, vmax=reach, edgecolors="white", linewidth=1.5)
        for (i, j), x in np.ndenumerate(values):
            ax.text(j + 0.5, i + 0.5, f"{round(x) + 0:+d}", ha="center", va="center", fontsize=8,
                    color="white" if abs(x) > 0.7 * reach else "black")  # fmt: skip
        ax.set_title(variable(str(v)).short)
        ax.set_xticks(np.arange(columns) + 0.5, [_lead(h) for h in change["lead"].values])
        ax.set_yticks(np.arange(rows) + 0.5, (_names(change["model"])))
        ax.set_ylim(rows, 0)
        ax.grid(False)
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
    bar = figure.colorbar(mesh, ax=axes, shrink=0.8, pad=0.02, aspect=30)
    bar.set_label(f"{metric.upper()} against {baseline} (%)")
    bar.outline.set_visible(False)
    return figure


def _names(labels: xr.DataArray) -> list[str]:
    """The labels of a dimension as text."""
    return [str(x) for x in labels.values]


def _lead(hours: float) -> str:
    return f"{hours:g} h" if hours < 24 else f"{hours / 24:g} d"


def _projection(grid: Grid) -> ccrs.Projection:
    if grid.periodic:
        return ccrs.Robinson(central_longitude=0)
    return ccrs.PlateCarree(central_longitude=float((grid.lon_edges[0] + grid.lon_edges[-1]) / 2))


def _two_dimensional(field: xr.DataArray) -> xr.DataArray:
    field = field.squeeze(drop=False)
    if set(field.dims) != {"lat", "lon"}:
        raise ValueError(
            f"expected a field with dimensions lat and lon, got {field.dims}: select a time first, with .isel(time=0) or .sel(time=...)"
        )
    return field.transpose("lat", "lon")


def coastlines(ax: Any, scale: str = "110m") -> None:
    """Draw coastlines into cartopy axes, from the repository's own files; `scale` is `110m` for the globe, `50m` for a region."""
    if _offline(scale):
        ax.coastlines(scale, linewidth=0.6, color="#303030")
    ax.spines["geo"].set_linewidth(0.4)


@functools.cache
def _offline(scale: str) -> bool:
    """Point cartopy at the coastlines of the repository; without them maps are drawn bare, rather than from the network."""
    folder = data_folder()
    if folder is not None:
        folder = folder / "natural_earth"
        if (folder / f"shapefiles/natural_earth/physical/ne_{scale}_coastline.shp").exists():
            cartopy.config["pre_existing_data_dir"] = folder
            return True
    warnings.warn(
        "maps are drawn without coastlines: data/natural_earth is not here. "
        "Work in a checkout, or point CLIMAX_LITE_DATA at its data folder",
        stacklevel=4,
    )
    return False


def _title(field: xr.DataArray) -> str:
    name = str(field.attrs.get("long_name", field.name or ""))
    if "time" in field.coords and field["time"].ndim == 0 and np.issubdtype(field["time"].dtype, np.datetime64):
        hour = str(np.datetime_as_string(field["time"].values, unit="h"))
        return f"{name}, {hour.replace('T', ' ')} UTC"
    return name


def _pretty(units: str) -> str:
    """`m2 s-2` → `m² s⁻²`."""
    out = []
    for word in units.split():
        base = word.rstrip("-0123456789")
        out.append(base + word[len(base) :].translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")) if base else word)
    return " ".join(out)
