"""The grid: latitudes and longitudes, how much of the Earth each cell covers, and regions on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

EARTH_RADIUS = 6_371_000.0
"""Mean radius of the Earth (m)."""


@dataclass(frozen=True)
class Region:
    """A box in degrees. `west` to `east` goes eastwards and may cross the date line or Greenwich; any longitude convention will do."""

    south: float
    north: float
    west: float
    east: float

    def __post_init__(self) -> None:
        if not -90 <= self.south < self.north <= 90:
            raise ValueError(f"expected -90 <= south < north <= 90, got south {self.south}, north {self.north}")
        if not 0 < self.width <= 360:
            raise ValueError(f"expected a box between 0 and 360 degrees wide, got west {self.west}, east {self.east}")

    @property
    def width(self) -> float:
        """Extent in longitude (degrees)."""
        span = self.east - self.west
        return span if 0 < span <= 360 else span % 360


REGIONS: Mapping[str, Region] = {
    "Global": Region(-90, 90, 0, 360),
    "NorthAmerica": Region(15, 65, 220, 300),
    "SouthAmerica": Region(-55, 20, 270, 330),
    "Europe": Region(30, 65, 0, 40),
    "SouthAsia": Region(-15, 45, 25, 110),
    "EastAsia": Region(5, 65, 70, 150),
    "Australia": Region(-50, 10, 100, 180),
}
"""The boxes that the official code names (`BOUNDARIES` in `climax/utils/data_utils.py`)."""


def region(name: str | Region) -> Region:
    """A named region, or the region itself."""
    if isinstance(name, Region):
        return name
    if name not in REGIONS:
        raise ValueError(
            f"unknown region {name!r}: expected one of {', '.join(REGIONS)}, or a Region(south, north, west, east)"
        )
    return REGIONS[name]


@dataclass(frozen=True, eq=False)
class Grid:
    """A rectangular latitude-longitude grid, from south to north and eastwards.

    Attributes:
        lat: (H,) cell centres in degrees north, ascending.
        lon: (W,) cell centres in degrees east, ascending, spanning less than 360.
        periodic: whether the last longitude meets the first.
    """

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]

    def __post_init__(self) -> None:
        lat, lon = (np.asarray(a, dtype=np.float64) for a in (self.lat, self.lon))
        for name, values in (("latitude", lat), ("longitude", lon)):
            if values.ndim != 1 or len(values) < 1:
                raise ValueError(f"expected {name} as a list of degrees, got an array of shape {values.shape}")
            if not np.isfinite(values).all():
                raise ValueError(
                    f"expected finite {name}s, got NaN or infinity: drop or fill them before making a grid"
                )
        if np.abs(lat).max() > 90:
            raise ValueError(
                f"expected latitudes within ±90 degrees, got {lat.min():g} to {lat.max():g}: are they radians or indices?"
            )
        if len(lat) > 1 and (np.diff(lat) < 0).all():
            raise ValueError("expected latitudes from south to north, got north to south: use ds.sortby('lat') first")
        if not (np.diff(lat) > 0).all():
            raise ValueError(
                "expected latitudes in ascending order, each once: use ds.sortby('lat').drop_duplicates('lat') first"
            )
        if not (np.diff(lon) > 0).all():
            raise ValueError(
                "expected longitudes in ascending order, each once: use ds.assign_coords(lon=ds.lon % 360).sortby('lon') first"
            )
        if lon[-1] - lon[0] >= 360:
            raise ValueError(
                f"expected longitudes that span less than 360 degrees, got {lon[0]:g} to {lon[-1]:g}: drop the doubled meridian"
            )
        object.__setattr__(self, "lat", lat)
        object.__setattr__(self, "lon", lon)

    @classmethod
    def regular(cls, height: int, width: int) -> Grid:
        """Equal steps in both directions without pole rows: `regular(32, 64)` is the 5.625° grid of WeatherBench."""
        if height < 1 or width < 1:
            raise ValueError(f"expected at least one row and one column, got {height} x {width}")
        return cls((np.arange(height) + 0.5) * 180 / height - 90, np.arange(width) * 360 / width)

    @classmethod
    def from_dataset(cls, ds: xr.Dataset | xr.DataArray) -> Grid:
        """The grid of a dataset with coordinates `lat` and `lon`."""
        for name, alias in (("lat", "latitude"), ("lon", "longitude")):
            if name not in ds.coords:
                hint = f": rename {alias!r} with ds.rename({alias}={name!r})" if alias in ds.coords else ""
                raise ValueError(f"expected a coordinate {name!r}, got {sorted(map(str, ds.coords))}{hint}")
        return cls(ds["lat"].values, ds["lon"].values)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return len(self.lat), len(self.lon)

    @property
    def lat_edges(self) -> NDArray[np.float64]:
        """(H + 1,) edges of the rows: midway between centres; the outermost half a step beyond, but not beyond a pole."""
        middle = (self.lat[1:] + self.lat[:-1]) / 2
        if len(self.lat) == 1:
            raise ValueError("a grid of one row has no edges: expected at least two latitudes")
        first = self.lat[0] - (middle[0] - self.lat[0])
        last = self.lat[-1] + (self.lat[-1] - middle[-1])
        edges = np.clip(np.concatenate([[first], middle, [last]]), -90, 90)
        # Gaussian latitudes leave a sliver at the poles that belongs to the outermost row.
        if 90 - edges[-1] < (edges[-1] - edges[-2]) / 2:
            edges[-1] = 90
        if edges[0] + 90 < (edges[1] - edges[0]) / 2:
            edges[0] = -90
        return edges

    @property
    def lon_edges(self) -> NDArray[np.float64]:
        """(W + 1,) edges of the columns, midway between centres."""
        step = self._lon_step
        middle = (self.lon[1:] + self.lon[:-1]) / 2
        return np.concatenate([[self.lon[0] - step / 2], middle, [self.lon[-1] + step / 2]])

    @property
    def _lon_step(self) -> float:
        return float(np.median(np.diff(self.lon))) if len(self.lon) > 1 else 360.0

    @property
    def is_regular(self) -> bool:
        """Whether it is `Grid.regular` of its own shape."""
        other = Grid.regular(*self.shape)
        return np.allclose(self.lat, other.lat, atol=1e-3) and np.allclose(self.lon, other.lon, atol=1e-3)

    @property
    def periodic(self) -> bool:
        """Whether one more step eastwards from the last longitude leads to the first."""
        return bool(np.isclose(self.lon[-1] + self._lon_step - 360, self.lon[0], atol=1e-3 * self._lon_step))

    def weights(self, kind: str = "cosine") -> NDArray[np.float64]:
        """Latitude weights (H,), of mean one.

        Args:
            kind: `cosine`, the paper's L(i) = cos φ_i / mean cos φ; or `area`, sin of the northern minus sin of the
                southern edge, which is exact. On a regular grid without pole rows they agree to rounding; a pole row has no weight
                by the first and a small one by the second.
        """
        if kind == "cosine":
            w = np.cos(np.deg2rad(self.lat)).clip(min=0.0)  # cos 90° is 6e-17, which may come out negative
        elif kind == "area":
            w = np.diff(np.sin(np.deg2rad(self.lat_edges)))
        else:
            raise ValueError(f"expected kind 'cosine' or 'area', got {kind!r}")
        return w / w.mean()

    def area(self) -> NDArray[np.float64]:
        """Exact area of every cell (H, W) in m², on a sphere of radius `EARTH_RADIUS`."""
        band = np.diff(np.sin(np.deg2rad(self.lat_edges)))
        return EARTH_RADIUS**2 * band[:, None] * np.deg2rad(np.diff(self.lon_edges))[None, :]

    def rows(self, box: str | Region) -> NDArray[np.intp]:
        """Indices of the rows whose centres lie in the region, south to north."""
        box = region(box)
        return np.flatnonzero((self.lat >= box.south) & (self.lat <= box.north))

    def columns(self, box: str | Region) -> NDArray[np.intp]:
        """Indices of the columns whose centres lie in the region, eastwards from its western edge, across Greenwich if need be."""
        box = region(box)
        eastwards = (self.lon - box.west) % 360
        # A full circle holds every column once; otherwise both edges belong to the box.
        inside = np.flatnonzero(eastwards <= box.width) if box.width < 360 else np.arange(len(self.lon))
        return inside[np.argsort(eastwards[inside], kind="stable")]

    def crop(self, ds: xr.Dataset, box: str | Region) -> xr.Dataset:
        """The part of a dataset on this grid whose cell centres lie in the region.

        Longitudes of the result ascend; where the box crosses the end of the grid, the columns before it count as 360 less.

        Raises:
            ValueError: when no cell centre lies in the region.
        """
        box = region(box)
        rows, columns = self.rows(box), self.columns(box)
        if not len(rows) or not len(columns):
            raise ValueError(
                f"no cell centre of this {self.shape[0]} x {self.shape[1]} grid lies in {box}: take a larger box or a finer grid"
            )
        out = ds.isel(lat=rows, lon=columns)
        lon = out["lon"].values
        wrapped = np.flatnonzero(np.diff(lon) < 0)
        if len(wrapped):
            lon = np.where(np.arange(len(lon)) <= wrapped[0], lon - 360, lon)
        return out.assign_coords(lon=("lon", lon, ds["lon"].attrs))

    def patch_ids(self, box: str | Region, patch_size: int, cover: bool = False) -> NDArray[np.intp]:
        """Which patches (tokens, row-major from the south-west) lie wholly in the region, in ascending order.

        Args:
            box: the region.
            patch_size: cells along the side of a patch.
            cover: take those that lie in it partly, too, so that they cover every cell of the region.

        Raises:
            ValueError: when the grid is not divisible by the patch, or no patch lies in the region.
        """
        height, width = self.shape
        if height % patch_size or width % patch_size:
            raise ValueError(f"expected a grid divisible by the patch size {patch_size}, got {height} x {width}")

        def of(cells: NDArray[np.intp]) -> NDArray[np.intp]:
            patches, held = np.unique(cells // patch_size, return_counts=True)
            return patches if cover else patches[held == patch_size]

        rows, columns = of(self.rows(box)), of(self.columns(box))
        if not len(rows) or not len(columns):
            raise ValueError(
                f"no whole patch of {patch_size} x {patch_size} cells lies in {region(box)}: take a larger box or smaller patches"
            )
        return (rows[:, None] * (width // patch_size) + columns[None, :]).ravel()

    def patch_cells(self, ids: Sequence[int] | NDArray[np.intp], patch_size: int) -> tuple[NDArray, NDArray]:
        """Rows and columns of the cells of patches that fill a rectangle (`patch_ids`), both in ascending order."""
        across = self.shape[1] // patch_size
        places = np.asarray(ids)
        rows, columns = (
            (np.unique(at)[:, None] * patch_size + np.arange(patch_size)).ravel()
            for at in (places // across, places % across)
        )
        return rows, columns
