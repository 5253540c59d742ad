"""Small archives with the real schema, for the tests of the readers and of the download command."""

import functools
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import xarray as xr

LAT = np.array([-67.5, -22.5, 22.5, 67.5])
LON = np.arange(8) * 45.0


@contextmanager
def served(folder: Path):
    """The folder over HTTP on this machine; yields its address and the paths that were asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        server.server_close()


def field(times: np.ndarray, offset: float = 0.0) -> np.ndarray:
    """(time, lat, lon): 10,000 for each day of the year, 100 for each hour, 10 for each row, 1 for each column. Exact in float32."""
    day = (times - times.astype("M8[Y]")) // np.timedelta64(1, "D")
    hour = (times - times.astype("M8[D]")) // np.timedelta64(1, "h")
    rows, columns = np.meshgrid(np.arange(4), np.arange(8), indexing="ij")
    return (offset + (1e4 * day + 100 * hour)[:, None, None] + 10 * rows + columns).astype("float32")


def times(first: str, last: str, hours: int = 6) -> np.ndarray:
    return np.arange(first, last, np.timedelta64(hours, "h"), dtype="M8[ns]")


def weatherbench2(path: Path, zarr_format: int = 2, first: str = "2014-12-30", last: str = "2015-01-12") -> xr.Dataset:
    """(time, level, longitude, latitude), without attributes, with more than we have names for."""
    t = times(first, last)
    one = field(t).transpose(0, 2, 1)
    levels = [50, 500, 850, 1000]
    column = np.stack([one + 1e7 * i for i in range(4)], axis=1)
    dims, flat = ("time", "level", "longitude", "latitude"), ("time", "longitude", "latitude")
    ds = xr.Dataset(
        {
            "geopotential": (dims, column),
            "temperature": (dims, column),
            "relative_humidity": (dims, column / 1e8),
            "vertical_velocity": (dims, column),
            "2m_temperature": (flat, one),
            "sea_surface_temperature": (flat, np.where(np.arange(4) < 2, one, np.nan).astype("float32")),
            "total_precipitation_6hr": (flat, one / 1e6),
            "total_precipitation_24hr": (flat, one),
            "toa_incident_solar_radiation": (flat, one),
            "geopotential_at_surface": (flat[1:], one[0] * 9.80665),
            "land_sea_mask": (flat[1:], (one[0] > 1e5).astype("float32")),
        },
        {"time": t, "level": levels, "longitude": LON, "latitude": LAT},
    )
    ds.chunk(time=50).to_zarr(path, mode="w", zarr_format=zarr_format, consolidated=True)
    return ds


def weatherbench2_climatology(path: Path) -> None:
    dims = ("hour", "dayofyear", "level", "longitude", "latitude")
    values = 1000 * np.arange(1, 367)[None, :, None, None, None] + np.arange(0, 24, 6)[:, None, None, None, None]
    values = np.broadcast_to(values, (4, 366, 2, 8, 4)).astype("float32")
    coords = {
        "hour": [0, 6, 12, 18],
        "dayofyear": np.arange(1, 367),
        "level": [500, 850],
        "longitude": LON,
        "latitude": LAT,
    }
    xr.Dataset({"geopotential": (dims, values)}, coords).to_zarr(path, zarr_format=2, consolidated=True)


def weatherbench1(folder: Path) -> None:
    """Yearly files inside zips, hourly, with the units of ERA5."""
    folder.mkdir()
    for stem, short, units, levels in (
        ("geopotential", "z", "m**2 s**-2", [500, 850]),
        ("2m_temperature", "t2m", "K", None),
        ("total_precipitation", "tp", "m", None),
    ):
        with zipfile.ZipFile(folder / f"{stem}_5.625deg.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for year in (2015, 2016):
                t = times(f"{year}-01-01", f"{year}-01-03", 1)
                values = field(t)
                if stem == "total_precipitation":
                    values = np.full_like(values, 0.001)
                if levels:
                    values = np.stack([values, values + 1e7], axis=1)
                ds = xr.Dataset(
                    {
                        short: (
                            ("time", "level", "lat", "lon") if levels else ("time", "lat", "lon"),
                            values,
                            {"units": units},
                        )
                    },
                    {"time": t, "lat": LAT, "lon": LON}
                    | ({"level": ("level", levels, {"units": "millibars"})} if levels else {}),
                )
                name = f"{stem}_{year}_5.625deg.nc"
                ds.to_netcdf(folder / name)
                archive.write(folder / name, name)
                (folder / name).unlink()
    height = field(times("2015-01-01", "2015-01-02"))[0]
    xr.Dataset(
        {"orography": (("lat", "lon"), height, {"units": "m"}), "slt": (("lat", "lon"), np.zeros((4, 8)))},
        {"lat": LAT, "lon": LON},
    ).to_netcdf(folder / "constants_5.625deg.nc")


def cmip6(folder: Path) -> Path:
    """A catalogue and its stores: pressure in Pa, no leap years, bounds, north first; precipitation in the middle of its interval."""
    folder.mkdir()
    rows = [
        "activity_id,institution_id,source_id,experiment_id,member_id,table_id,variable_id,grid_label,zstore,dcpp_init_year,version"
    ]
    t = xr.date_range("1850-01-01", periods=8, freq="6h", calendar="noleap", use_cftime=True)
    middle = xr.date_range("1850-01-01T03", periods=8, freq="6h", calendar="noleap", use_cftime=True)
    for short, units, version in (
        ("ta", "K", "20190101"),
        ("ta", "K", "20200101"),
        ("zg", "m", "20200101"),
        ("pr", "kg m-2 s-1", "20200101"),
    ):
        value = {"ta": 200.0 if version == "20190101" else 250.0, "zg": 5500.0, "pr": 2 / 21600}[short]
        dims = ("time", "lat", "lon") if short == "pr" else ("time", "plev", "lat", "lon")
        shape = [{"time": 8, "plev": 3, "lat": 4, "lon": 8}[d] for d in dims]
        ds = xr.Dataset(
            {
                short: (
                    dims,
                    np.full(shape, value, "float32"),
                    {"units": units, "cell_methods": "time: mean" if short == "pr" else "time: point"},
                )
            },
            {
                "time": middle if short == "pr" else t,
                "lat": LAT[::-1],
                "lon": LON,
                "plev": ("plev", [85000.0, 50000.0, 25000.0], {"units": "Pa"}),
            },
            {"source_id": "TaiESM1", "title": "TaiESM1 output prepared for CMIP6"},
        )
        ds["lat_bnds"] = (("lat", "bnds"), np.zeros((4, 2)))
        if short == "pr":
            ends = np.stack([t.values, t.shift(1, "6h").values], axis=1)
            ds["time"].attrs["bounds"] = "time_bnds"
            ds["time_bnds"] = (("time", "bnds"), ends)
        store = folder / f"{short}.{version}.zarr"
        ds.to_zarr(store, zarr_format=2, consolidated=True)
        rows.append(f"CMIP,AS-RCEC,TaiESM1,historical,r1i1p1f1,6hrPlevPt,{short},gn,{store},,{version}")
    (folder / "pangeo-cmip6.csv").write_text("\n".join(rows))
    return folder / "pangeo-cmip6.csv"


# The global series of the published files begin and end so; CO2 in Gt since 1850, CH4 in Gt a year.
CLIMATEBENCH_SERIES = {
    "historical": {"CO2": (0.1883, 1500.0), "CH4": (0.03131, 0.3712)},
    "ssp245": {"CO2": (1536.0, 4524.0), "CH4": (0.3737, 0.2803)},
}
NORESM2 = np.linspace(-90, 90, 96), np.arange(144) * 2.5


def climatebench(folder: Path, lat: np.ndarray = LAT, lon: np.ndarray = LON, years: int = 12) -> None:
    """As prep_input_data.ipynb of ClimateBench writes them: the last years of the historical run and the first of a scenario.

    Inputs: the year as a number under `time`, global series, maps on latitude and longitude. Outputs: float32 but for the quantile, which
    leaves a scalar coordinate; three members on lat and lon, the third without the last year; no units, since the control was subtracted.
    The maps hold the year / 1000, the outputs the year and the number of the member, times a power of ten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for run, first in (("historical", 2015 - years), ("ssp245", 2015)):
        time = np.arange(first, first + years)
        series = {v: ("time", np.linspace(*ends, years)) for v, ends in CLIMATEBENCH_SERIES[run].items()}
        maps = np.broadcast_to(time[:, None, None] / 1000.0, (years, len(lat), len(lon)))
        sides = ("time", "latitude", "longitude")
        inputs = xr.Dataset(
            {"CO2": series["CO2"], "SO2": (sides, maps), "CH4": series["CH4"], "BC": (sides, 2 * maps)},
            {"time": time, "longitude": lon, "latitude": lat},
        )
        inputs["latitude"].attrs["units"] = "degrees"
        inputs.to_netcdf(folder / f"inputs_{run}.nc")
        member = np.array([1, 2, 3])
        values = np.broadcast_to(
            (member[:, None] + time)[:, :, None, None], (3, years, len(lat), len(lon))
        ).astype(float)  # fmt: skip
        values[2, -1] = np.nan
        sides = ("member", "time", "lat", "lon")
        outputs = xr.Dataset(
            {
                "diurnal_temperature_range": (sides, (0.1 * values).astype("float32")),
                "tas": (sides, values.astype("float32")),
                "pr": (sides, (-1e-8 * values).astype("float32")),  # a change, so it may be negative
                "pr90": (sides, 1e-7 * values),
            },
            {"lat": lat, "lon": lon, "time": time, "quantile": 0.9, "member": member},
        )
        outputs["lat"].attrs["units"] = "degrees"
        outputs.to_netcdf(folder / f"outputs_{run}.nc")


def climatebench_mirror(folder: Path) -> None:
    """The two archives and their checksums, as a mirror would serve them."""
    climatebench(folder / "made")
    for name, run in (("train_val", "historical"), ("test", "ssp245")):
        with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
            for kind in ("inputs", "outputs"):
                archive.add(folder / "made" / f"{kind}_{run}.nc", f"{name}/{kind}_{run}.nc")
    names = ("train_val.tar.gz", "test.tar.gz")
    (folder / "registry.txt").write_text("\n".join(f"{n} sha256:{pooch.file_hash(str(folder / n))}" for n in names))
