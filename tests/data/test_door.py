"""The door: every archive's way of writing the same atmosphere, with values by hand."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from climax_lite.data import door
from climax_lite.variables import variable

REAL = os.environ.get("CLIMAX_LITE_REAL_DATA")
needs_real = pytest.mark.skipif(not REAL, reason="CLIMAX_LITE_REAL_DATA does not name the folder of real pieces")

TIMES = np.arange("2001-01-01", "2001-01-02", np.timedelta64(6, "h"), dtype="datetime64[ns]")  # four of them
LAT, LON = [-45.0, 0.0, 45.0], [0.0, 90.0, 180.0, 270.0]


def raw(name: str, value, units: str | None = "K", dims=("time", "lat", "lon"), **coords) -> xr.Dataset:
    """One variable of a constant value, or of given values, on a small grid."""
    axes = {"time": TIMES, "lat": LAT, "lon": LON, "latitude": LAT, "longitude": LON} | coords
    shape = [len(axes[d]) for d in dims]
    ds = xr.Dataset({name: (dims, np.broadcast_to(np.float32(value), shape).copy())}, {d: axes[d] for d in dims})
    if units is not None:
        ds[name].attrs["units"] = units
    return ds


def only(ds: xr.Dataset) -> xr.DataArray:
    (name,) = ds.data_vars
    return ds[name]


# ---------------------------------------------------------------- names and units


@pytest.mark.parametrize(
    ("name", "units", "value", "becomes", "expected"),
    [
        ("t2m", "K", 280, "2m_temperature", 280),
        ("2t", "kelvin", 280, "2m_temperature", 280),
        ("tas", "degC", 6.85, "2m_temperature", 280),
        ("2m_temperature", "K", 280, "2m_temperature", 280),
        ("tos", "degC", 10, "sea_surface_temperature", 283.15),
        ("psl", "Pa", 101325, "mean_sea_level_pressure", 101325),
        ("msl", "hPa", 1013.25, "mean_sea_level_pressure", 101325),
        ("uas", "m s-1", -3, "10m_u_component_of_wind", -3),
        ("u10", "m s**-1", -3, "10m_u_component_of_wind", -3),
        ("clt", "%", 25, "total_cloud_cover", 0.25),
        ("tcc", "(0 - 1)", 0.25, "total_cloud_cover", 0.25),
        ("rsdt", "W m-2", 300, "toa_incident_solar_radiation", 300),
        ("total_precipitation_6hr", "m", 0.002, "total_precipitation_6hr", 0.002),
        ("total_precipitation_6hr", "mm", 2, "total_precipitation_6hr", 0.002),
        ("total_precipitation_6hr", "kg m-2", 2, "total_precipitation_6hr", 0.002),
        # 2 mm in six hours are 2 / 21600 kg m-2 s-1
        ("pr", "kg m-2 s-1", 2 / 21600, "total_precipitation_6hr", 0.002),
        # sunshine of 300 W/m2 over six hours is 300 * 21600 J/m2
        ("toa_incident_solar_radiation_6hr", "J m**-2", 6.48e6, "toa_incident_solar_radiation", 300),
        ("zg500", "m", 5500, "geopotential_500", 53936.575),  # 5500 * 9.80665
        ("z500", "m2 s-2", 53936.575, "geopotential_500", 53936.575),
        ("ta850", "K", 280, "temperature_850", 280),
    ],
)
def test_single_level_names_and_units(name, units, value, becomes, expected):
    out = only(door.normalise(raw(name, value, units)))
    assert out.name == becomes
    assert out.dtype == np.float32
    assert out.dims == ("time", "lat", "lon")
    assert out.attrs == variable(becomes).attrs
    np.testing.assert_allclose(out, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "units", "value", "becomes", "expected"),
    [
        ("z", "m**2 s**-2", 53936.575, "geopotential", 53936.575),
        ("z", "m", 5500, "geopotential", 53936.575),
        ("zg", "m", 5500, "geopotential", 53936.575),
        ("gh", "gpm", 5500, "geopotential", 53936.575),
        ("geopotential", "m2 s-2", 53936.575, "geopotential", 53936.575),
        ("hus", "1", 0.004, "specific_humidity", 0.004),
        ("q", "g kg-1", 4, "specific_humidity", 0.004),
        ("hur", "%", 40, "relative_humidity", 40),
        ("relative_humidity", "1", 0.4, "relative_humidity", 40),
        ("va", "m s-1", 7, "v_component_of_wind", 7),
    ],
)
def test_names_and_units_on_levels(name, units, value, becomes, expected):
    ds = raw(name, value, units, ("time", "plev", "lat", "lon"), plev=[85000.0, 50000.0])
    ds["plev"].attrs["units"] = "Pa"
    out = door.normalise(ds)
    assert list(out.data_vars) == [f"{becomes}_850", f"{becomes}_500"]
    np.testing.assert_allclose(out[f"{becomes}_500"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "units", "value", "becomes", "expected"),
    [
        ("orog", "m", 500, "orography", 500),
        ("geopotential_at_surface", "m2 s-2", 4903.325, "orography", 500),  # 500 * 9.80665
        ("sftlf", "%", 30, "land_sea_mask", 0.3),
        ("lsm", "(0 - 1)", 0.3, "land_sea_mask", 0.3),
    ],
)
def test_constants_lose_their_time(name, units, value, becomes, expected):
    out = door.normalise(raw(name, value, units))
    assert out[becomes].dims == ("lat", "lon")
    np.testing.assert_allclose(out[becomes], expected, rtol=1e-6)
    assert "time" not in door.normalise(raw(name, value, units, ("lat", "lon"))).dims


def test_surface_geopotential_of_grib_is_known_by_its_level_and_not_by_its_values():
    ds = raw("z", 4903.325, "m**2 s**-2", ("lat", "lon"))
    np.testing.assert_allclose(door.normalise(ds.assign_coords(surface=0.0))["orography"], 500, rtol=1e-6)
    with pytest.raises(ValueError, match=r"no axis of them.*expand_dims\(level=\[500\]\).*geopotential_at_surface"):
        door.normalise(ds)


def test_what_the_archive_documents_and_its_files_leave_out():
    ds = raw("relative_humidity", 0.4, None, ("time", "level", "longitude", "latitude"), level=[500, 850])
    out = door.normalise(ds, source="weatherbench2")
    np.testing.assert_allclose(out["relative_humidity_850"], 40)  # a fraction in WeatherBench 2, per cent in ERA5
    with pytest.raises(
        ValueError, match=r"levels of relative_humidity in 'hPa' or 'Pa', got no units: .*'weatherbench2'"
    ):
        door.normalise(ds)


# ---------------------------------------------------------------- axes


def test_levels_transposed_north_first_and_from_minus_180():
    lat, lon = [45.0, 0.0, -45.0], [-180.0, -90.0, 0.0, 90.0]
    values = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    ds = xr.Dataset(
        {"t": (("time", "level", "longitude", "latitude"), np.stack([values] * 4), {"units": "K"})},
        {"time": TIMES, "level": ("level", [500, 850], {"units": "millibars"}), "longitude": lon, "latitude": lat},
    )
    out = door.normalise(ds)
    assert out.lat.values.tolist() == LAT
    assert out.lon.values.tolist() == LON
    # level 850 is the second block of 12: longitude -90 (second) and latitude 45 (first) hold 12 + 1 * 3 + 0
    assert float(out["temperature_850"].sel(lat=45, lon=270)[0]) == 15
    assert float(out["temperature_500"].sel(lat=-45, lon=0)[0]) == 8  # third longitude, third latitude: 2 * 3 + 2


def test_a_region_across_greenwich_stays_in_one_piece():
    ds = raw("t2m", [[[1, 2, 3, 4]]], lon=[-10.0, 0.0, 10.0, 20.0])
    assert door.normalise(ds).lon.values.tolist() == [-10, 0, 10, 20]
    out = door.normalise(raw("t2m", [[[1, 2, 3, 4]]], lon=[0.0, 10.0, 20.0, 350.0]))
    assert out.lon.values.tolist() == [-10, 0, 10, 20]
    assert out["2m_temperature"][0, 0].values.tolist() == [4, 1, 2, 3]


def test_a_doubled_meridian_is_dropped():
    out = door.normalise(raw("t2m", [[[1, 2, 3, 1]]], lon=[0.0, 120.0, 240.0, 360.0]))
    assert out.lon.values.tolist() == [0, 120, 240]
    assert out["2m_temperature"][0, 0].values.tolist() == [1, 2, 3]


def test_a_scalar_level_and_a_scalar_time_become_axes():
    ds = raw("t", 250, "K", ("latitude", "longitude")).assign_coords(isobaricInhPa=500.0, time=TIMES[0])
    ds["isobaricInhPa"].attrs["units"] = "hPa"
    out = door.normalise(ds)
    assert out["temperature_500"].dims == ("time", "lat", "lon")
    assert set(out.coords) == {"time", "lat", "lon"}


def test_bounds_and_other_baggage_are_left_behind():
    ds = raw("tas", 280).assign_coords(height=2.0)
    ds["lat_bnds"] = (("lat", "bnds"), np.zeros((3, 2)))
    ds["time_bnds"] = (("time", "bnds"), np.zeros((4, 2)))
    out = door.normalise(ds)
    assert list(out.data_vars) == ["2m_temperature"]
    assert set(out.coords) == {"time", "lat", "lon"}


def test_only_what_is_asked_for_is_looked_at():
    ds = xr.merge([raw("t2m", 280), raw("mystery", 1, None), raw("q", 1, None)])
    assert list(door.normalise(ds, variables=["t2m"]).data_vars) == ["2m_temperature"]
    assert set(door.recognised(ds).data_vars) == {"t2m", "q"}
    with pytest.raises(ValueError, match=r"no geopotential_500; it has 2m_temperature"):
        door.normalise(ds, variables=["t2m", "z500"])


def test_twice_through_the_door_changes_nothing():
    once = door.normalise(raw("tas", 6.85, "degC"))
    xr.testing.assert_identical(door.normalise(once), once)


def test_lazy_arrays_stay_lazy():
    dask = pytest.importorskip("dask")
    ds = raw("zg500", 5500, "m").chunk()
    with dask.config.set(scheduler=lambda *a, **k: pytest.fail("something was computed")):
        out = door.normalise(ds)
    np.testing.assert_allclose(out["geopotential_500"], 53936.575, rtol=1e-6)


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_foreign_calendars_are_kept(calendar):
    times = xr.date_range("2000-02-27", periods=4, freq="D", calendar=calendar, use_cftime=True)
    out = door.normalise(raw("tas", 280, time=times))
    assert out.time.dt.calendar == calendar
    assert [t.day for t in out.time.values] == ([27, 28, 1, 2] if calendar == "noleap" else [27, 28, 29, 30])


def test_our_calendar_in_cftime_becomes_datetime64():
    times = xr.date_range("1850-01-01", periods=4, freq="6h", calendar="proleptic_gregorian", use_cftime=True)
    out = door.normalise(raw("tas", 280, time=times))
    assert out.time.dtype == "datetime64[ns]"
    assert str(out.time.values[1])[:16] == "1850-01-01T06:00"


def test_a_mean_is_labelled_by_the_end_of_its_interval():
    middle = TIMES + np.timedelta64(3, "h")
    ds = raw("pr", 2 / 21600, "kg m-2 s-1", time=middle)
    ds["pr"].attrs["cell_methods"] = "area: time: mean"
    ds["time"].attrs["bounds"] = "time_bnds"
    ds["time_bnds"] = (("time", "bnds"), np.stack([TIMES, TIMES + np.timedelta64(6, "h")], axis=1))
    out = door.normalise(ds)
    assert str(out.time.values[0])[:16] == "2001-01-01T06:00"
    # the mean of a state over a day keeps its label: only sums and means of fluxes belong to the interval that ends
    ds["tas"] = ds["pr"].assign_attrs(units="K")
    assert str(door.normalise(ds[["tas", "time_bnds"]]).time.values[0])[:16] == "2001-01-01T03:00"


def test_unsorted_times_are_sorted_and_a_gap_is_said():
    ds = raw("t2m", np.arange(4)[:, None, None])
    assert door.normalise(ds.isel(time=[2, 0, 1, 3]))["2m_temperature"][:, 0, 0].values.tolist() == [0, 1, 2, 3]
    long = raw("t2m", 280, time=np.arange("2001-01-01", "2001-01-04", np.timedelta64(6, "h"), dtype="datetime64[ns]"))
    with pytest.warns(UserWarning, match="1 gap.* from 2001-01-01T12:00 to 2001-01-02T00:00"):
        door.normalise(long.drop_isel(time=3))


def test_grib_steps_become_valid_times():
    ds = raw(
        "t2m",
        [[[[0]], [[1]]], [[[2]], [[3]]]],
        "K",
        ("time", "step", "lat", "lon"),
        time=TIMES[::2],
        step=np.array([0, 6], "m8[h]").astype("m8[ns]"),
    )
    out = door.normalise(ds)  # starts at 00 and 12, steps of 0 and 6 h: 00, 06, 12, 18
    np.testing.assert_array_equal(out.time.values, TIMES)
    assert out["2m_temperature"][:, 0, 0].values.tolist() == [0, 1, 2, 3]
    scalar = raw("t2m", 280).assign_coords(step=np.timedelta64(6, "h"))
    np.testing.assert_array_equal(door.normalise(scalar).time.values, TIMES + np.timedelta64(6, "h"))
    with pytest.raises(ValueError, match=r"forecasts that overlap: choose one lead time with ds.isel\(step=0\)"):
        door.normalise(ds.assign_coords(step=np.array([0, 12], "m8[h]").astype("m8[ns]")))


def test_one_forecast_is_a_record_of_its_steps():
    ds = raw("t2m", 280, "K", ("step", "lat", "lon"), step=np.array([0, 6], "m8[h]").astype("m8[ns]")).assign_coords(
        time=TIMES[0]
    )
    np.testing.assert_array_equal(door.normalise(ds).time.values, TIMES[:2])


def test_the_new_climate_data_store():
    ds = raw("t2m", 280, "K", ("valid_time", "latitude", "longitude"), valid_time=TIMES)
    ds = ds.assign_coords(number=0, expver=("valid_time", ["0001"] * 4))
    np.testing.assert_array_equal(door.normalise(ds).time.values, TIMES)


def test_the_two_editions_of_recent_months_are_joined():
    values = np.full((4, 2, 3, 4), np.nan)
    values[:2, 0], values[2:, 1] = 280, 281
    ds = raw("t2m", values, "K", ("time", "expver", "lat", "lon"), expver=[1, 5])
    assert door.normalise(ds)["2m_temperature"][:, 0, 0].values.tolist() == [280, 280, 281, 281]


# ---------------------------------------------------------------- what it refuses


def at(ds: xr.Dataset, **coords) -> xr.Dataset:
    return ds.assign_coords(coords)


@pytest.mark.parametrize(
    ("ds", "says"),
    [
        (raw("air", 280), "unknown variable 'air'.*rename it, or leave it out"),
        (raw("t2m", 280, None), r"expected t2m in 'K', got no units: set ds\['t2m'\].attrs\['units'\]"),
        (raw("t2m", 280, "furlongs"), "expected t2m in 'K' or something that converts to it, got 'furlongs'"),
        (raw("tp", 1, "m"), r"summed over 6 h, got a sum over a time that the file does not tell.*rolling\(time=6\).sum"),
        (raw("tisr", 1, "J m**-2"), "expected tisr summed over 6 h"),
        (raw("pr", 1, "kg m-2 s-1").isel(time=[0, 2]), "steps of 6 h, .*got steps of 12 h"),
        (raw("pr", 1, "kg m-2 s-1").isel(time=[0]), "got a single time"),
        (raw("t", 280), "expected 't' on pressure levels, got no axis of them"),
        (raw("t", 280, "K", ("time", "level", "lat", "lon"), level=[1, 2]), "got no units"),
        (at(raw("t", 280, "K", ("time", "lev", "lat", "lon"), lev=[0.1, 0.2]), lev=("lev", [0.1, 0.2], {"units": "1"})), "got '1': interpolate from model levels"),
        (at(raw("t", 280, "K", ("time", "plev", "lat", "lon"), plev=[50.0]), plev=("plev", [50.0], {"units": "Pa"})), "expected levels of whole hPa"),
        (raw("t2m", 280, "K", ("time", "number", "lat", "lon"), number=[0, 1]), r"expected one member, got 2 along 'number': choose one with ds.isel\(number=0\)"),
        (raw("t2m", 280, "K", ("time", "band", "lat", "lon"), band=[0, 1]), "got band too"),
        (raw("t2m", 280, "K", ("lat", "lon")), r"expected t2m with a time.*expand_dims\(time"),
        (xr.merge([raw("t2m", 280), raw("tas", 280)]), "got 2m_temperature twice, the second time as 'tas'"),
        (raw("t2m", 280).isel(time=[0, 0, 1]), r"expected every time once, got 1 twice, the first 2001-01-01T00:00: use ds.drop_duplicates"),
        (at(raw("t2m", 280), time=[0, 6, 12, 18]), "expected dates, got numbers"),
        (at(raw("t2m", 280), time=np.array(["2001-01-01", "NaT", "2001-01-03", "2001-01-04"], "M8[ns]")), "got 1 missing ones"),
        (at(raw("t2m", 280), lat=[-45.0, np.nan, 45.0]), "expected finite latitudes"),
        (raw("t2m", 280).rename(lat="south_north"), "expected a coordinate 'lat' or 'latitude'"),
        (raw("t2m", 280).rename(lat="y").assign_coords(lat=(("y", "lon"), np.zeros((3, 4)))), "expected a rectangular grid.*regrid it"),
        (xr.Dataset(coords={"lat": LAT, "lon": LON}), "no variable that the package knows"),
    ],
)  # fmt: skip
def test_a_surprise_is_a_sentence(ds, says):
    with pytest.raises(ValueError, match=says):
        door.normalise(ds)


def test_ncep_calls_every_temperature_air():
    ds = raw("air", 280, "degK")
    with pytest.raises(ValueError, match="unknown variable 'air'"):
        door.normalise(ds)
    ds["air"].attrs["long_name"] = "4xDaily Air temperature at sigma level 995"
    assert list(door.recognised(ds).data_vars) == ["air"]
    assert list(door.normalise(ds).data_vars) == ["sigma_995_temperature"]


# ---------------------------------------------------------------- real pieces


@needs_real
def test_reanalysis_of_north_america():
    ds = xr.open_zarr(Path(REAL) / "air_temperature.zarr", chunks=None)
    out = door.normalise(ds)
    assert dict(out.sizes) == {"time": 2920, "lat": 25, "lon": 53}
    assert out.lat.values[0] == 15
    assert 185 < float(out["sigma_995_temperature"].min()) < float(out["sigma_995_temperature"].max()) < 323


@needs_real
def test_ecmwf_pressure_levels():
    cfgrib = pytest.importorskip("cfgrib", reason="GRIB needs the package cfgrib", exc_type=Exception)
    (ds,) = cfgrib.open_datasets(str(Path(REAL) / "pl_regular_ll.grib"), backend_kwargs={"indexpath": ""})
    out = door.normalise(ds)
    assert out.sizes["time"] == 8
    assert len(out.data_vars) == 5 * 6
    assert out.lat.values[0] == -90
    assert 5.0e4 < float(out["geopotential_500"].mean()) < 5.7e4
    assert 0 <= float(out["relative_humidity_850"].mean()) <= 100


@needs_real
def test_era5_ensemble():
    cfgrib = pytest.importorskip("cfgrib", reason="GRIB needs the package cfgrib", exc_type=Exception)
    (ds,) = cfgrib.open_datasets(str(Path(REAL) / "era5-levels-members.grib"), backend_kwargs={"indexpath": ""})
    with pytest.raises(ValueError, match="expected one member, got 10 along 'number'"):
        door.normalise(ds)
    out = door.normalise(ds.isel(number=0))
    assert set(out.data_vars) == {"geopotential_500", "geopotential_850", "temperature_500", "temperature_850"}


@needs_real
def test_cmip6_annual_means():
    (path,) = sorted((Path(REAL) / "cmip6_ipsl_annual").glob("*tas_ann*ssp126_r1i1p1f1*"))
    with xr.open_dataset(path) as ds, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        out = door.normalise(ds)
    assert dict(out.sizes)["time"] == 86
    assert 280 < float(out["2m_temperature"].weighted(np.cos(np.deg2rad(out.lat))).mean()) < 295
