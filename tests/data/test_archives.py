"""The readers of the archives, on small stores with the real schema, on disk and over HTTP."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("zarr")
pytest.importorskip("dask")
from climax_lite.data import ForecastSamples, ProjectionSamples, Record, archives, by_run
from climax_lite.grid import Grid
from climax_lite.regrid import regrid

from . import archive_fakes as fakes

REAL = os.environ.get("CLIMAX_LITE_REAL_DATA")
needs_real = pytest.mark.skipif(not REAL, reason="CLIMAX_LITE_REAL_DATA does not name the folder of real pieces")


@pytest.fixture(scope="module")
def wb2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weatherbench2")
    fakes.weatherbench2(folder / "era5.zarr")
    fakes.weatherbench2_climatology(folder / "climatology.zarr")
    return folder


class TestWeatherBench2:
    def test_all_that_has_a_name_here(self, wb2):
        ds = archives.open_weatherbench2(wb2 / "era5.zarr")
        levels = (50, 500, 850, 1000)
        assert set(ds.data_vars) == {
            *(f"{q}_{level}" for q in ("geopotential", "temperature", "relative_humidity") for level in levels),
            "2m_temperature", "sea_surface_temperature", "total_precipitation_6hr", "orography", "land_sea_mask",
        }  # fmt: skip

    def test_values_land_where_they_belong(self, wb2):
        ds = archives.open_weatherbench2(
            wb2 / "era5.zarr", ["z500", "t2m", "relative_humidity_850", "orography"], (2015, 2015)
        )
        assert list(ds.data_vars) == ["geopotential_500", "2m_temperature", "relative_humidity_850", "orography"]
        assert (str(ds.time.values[0])[:13], str(ds.time.values[-1])[:13]) == ("2015-01-01T00", "2015-01-11T18")
        assert ds["geopotential_500"].dims == ("time", "lat", "lon")
        at = {"time": "2015-01-02T06", "lat": 22.5, "lon": 135}  # day 1, hour 6, row 2, column 3
        assert float(ds["2m_temperature"].sel(at)) == 10623
        assert float(ds["geopotential_500"].sel(at)) == 1e7 + 10623  # the second level
        # a fraction becomes per cent: (2e7 + 10623) / 1e8 * 100
        assert float(ds["relative_humidity_850"].sel(at)) == pytest.approx(20.010623)
        # the first state of the store is day 363 at midnight; g cancels
        assert float(ds["orography"].sel(lat=22.5, lon=135)) == pytest.approx(363 * 1e4 + 23)

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_over_http_both_formats_read_only_what_is_asked_for(self, tmp_path, zarr_format):
        fakes.weatherbench2(tmp_path / "era5.zarr", zarr_format)
        with fakes.served(tmp_path) as (address, asked):
            ds = archives.open_weatherbench2(f"{address}era5.zarr", ["t2m"])
            assert float(ds["2m_temperature"].sel(time="2015-01-02T06", lat=22.5, lon=135)) == 10623
        chunks = [p for p in asked if "temperature" in p and not p.endswith(("zarray", "zattrs", "json", "zmetadata"))]
        assert len(set(chunks)) == 1
        assert not any("geopotential/c" in p or "geopotential/0" in p for p in asked)

    def test_the_climatology_is_a_leap_year(self, wb2):
        ds = archives.open_weatherbench2_climatology(wb2 / "climatology.zarr", ["z500"])
        assert ds.sizes["time"] == 366 * 4
        assert float(ds["geopotential_500"].sel(time="2000-02-29T12", lat=22.5, lon=0)) == 60012  # day 60, hour 12
        assert float(ds["geopotential_500"].sel(time="2000-12-31T18", lat=22.5, lon=0)) == 366018

    @pytest.mark.parametrize(
        ("call", "says"),
        [
            (
                lambda p: archives.open_weatherbench2(p / "era5.zarr", ["q700"]),
                "no specific_humidity_700; it has 2m_temperature; geopotential on 4 levels; .*; temperature on 4 levels; total",
            ),
            (
                lambda p: archives.open_weatherbench2(p / "era5.zarr", ["z500", "z600", "t2m"]),
                "has no geopotential_600; it has 2m_temperature; geopotential at 50, 500, 850, 1000 hPa; .*temperature on 4 levels",
            ),
            (
                lambda p: archives.open_weatherbench2(p / "era5.zarr", "t2m"),
                r"expected a list of variables, got the text 't2m'",
            ),
            (
                lambda p: archives.open_weatherbench2(p / "era5.zarr", None, (1990, 1991)),
                "expected years from 2014 to 2015, got 1990 to 1991",
            ),
            (lambda p: archives.open_weatherbench2(p / "nowhere.zarr"), "is not there, or not a whole store"),
            (lambda p: archives.open_weatherbench2_climatology(p / "era5.zarr"), "got no dayofyear and no hour"),
            (
                lambda p: archives.open_weatherbench2("http://127.0.0.1:9/era5.zarr"),
                "no network: 127.0.0.1 cannot be reached",
            ),
        ],
    )
    def test_bad_requests_get_a_sentence(self, wb2, call, says):
        with pytest.raises(ValueError, match=says):
            call(wb2)

    def test_no_network_gets_a_sentence_at_once(self, monkeypatch):
        monkeypatch.setattr(archives.urllib.request, "getproxies", dict)
        monkeypatch.setattr(
            archives.socket, "create_connection", lambda *a, **k: (_ for _ in ()).throw(OSError("unreachable"))
        )
        with pytest.raises(ValueError, match=r"no network: storage.googleapis.com cannot be reached.*copy the store"):
            archives.open_weatherbench2()

    def test_a_public_bucket_without_its_own_client_is_read_over_https(self, monkeypatch):
        monkeypatch.setattr(archives.importlib.util, "find_spec", lambda name: None)
        assert archives._anonymous("gs://weatherbench2/a.zarr") == (
            "https://storage.googleapis.com/weatherbench2/a.zarr",
            {},
        )
        monkeypatch.setattr(archives.importlib.util, "find_spec", lambda name: True)
        assert archives._anonymous("gs://weatherbench2/a.zarr") == ("gs://weatherbench2/a.zarr", {"token": "anon"})


class TestWeatherBench1:
    @pytest.fixture
    def folder(self, tmp_path):
        fakes.weatherbench1(tmp_path / "wb1")
        return tmp_path / "wb1"

    def test_one_year_is_unpacked_and_no_more(self, folder):
        ds = archives.open_weatherbench1(folder, ["z500", "t2m", "orography"], (2016, 2016))
        assert dict(ds.sizes) == {"time": 48, "lat": 4, "lon": 8}
        assert float(ds["geopotential_500"].sel(time="2016-01-02T05", lat=22.5, lon=135)) == 10523
        assert float(ds["orography"].sel(lat=22.5, lon=135)) == 23
        assert {p.name for p in (folder / "unpacked").iterdir()} == {
            "geopotential_2016_5.625deg.nc", "2m_temperature_2016_5.625deg.nc",
        }  # fmt: skip

    def test_hourly_sums_become_sums_over_six_hours(self, folder):
        ds = archives.open_weatherbench1(folder, ["total_precipitation_6hr", "t2m"], (2015, 2015))
        assert str(ds.time.values[0])[:13] == "2015-01-01T05"
        np.testing.assert_allclose(ds["total_precipitation_6hr"], 0.006, rtol=1e-5)  # six hours of a millimetre

    def test_everything(self, folder):
        with pytest.warns(UserWarning, match="gap"):  # the fake has two days of each year
            ds = archives.open_weatherbench1(folder)
        assert set(ds.data_vars) == {
            "geopotential_500",
            "geopotential_850",
            "2m_temperature",
            "total_precipitation_6hr",
            "orography",
        }

    def test_a_damaged_zip_gets_a_sentence(self, folder):
        path = folder / "2m_temperature_5.625deg.zip"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ValueError, match=r"2m_temperature_5.625deg.zip is damaged .*delete it and fetch it again"):
            archives.open_weatherbench1(folder, ["t2m"])

    def test_bad_requests_get_a_sentence(self, folder, tmp_path):
        with pytest.raises(
            ValueError,
            match="has no temperature_850; it has 2m_temperature, constants, geopotential, total_precipitation",
        ):
            archives.open_weatherbench1(folder, ["t850"])
        with pytest.raises(ValueError, match="nothing of the years 1980 to 1981"):
            archives.open_weatherbench1(folder, ["t2m"], (1980, 1981))
        with pytest.raises(
            ValueError,
            match=r"no file like geopotential_5.625deg.zip: fetch some with 'climax-lite data get weatherbench1'",
        ):
            archives.open_weatherbench1(tmp_path)


class TestCmip6:
    @pytest.fixture
    def catalogue(self, tmp_path):
        return fakes.cmip6(tmp_path / "cmip6")

    def test_pressure_in_pascal_no_leap_years_north_first(self, catalogue):
        ds = archives.open_cmip6("TaiESM1", ["z500", "t850"], catalogue=catalogue)
        assert list(ds.data_vars) == ["geopotential_500", "temperature_850"]
        assert ds.time.dt.calendar == "noleap"
        assert ds.lat.values.tolist() == fakes.LAT.tolist()
        np.testing.assert_allclose(ds["geopotential_500"], 53936.575, rtol=1e-6)
        np.testing.assert_array_equal(ds["temperature_850"], 250)  # of two versions the later one
        assert ds.attrs["source_id"] == "TaiESM1"

    def test_precipitation_of_the_last_six_hours(self, catalogue):
        ds = archives.open_cmip6("TaiESM1", ["total_precipitation_6hr", "z500"], catalogue=catalogue)
        # means over 00-06, ..., labelled by their ends, meet states from 06 of the first day to 18 of the second
        assert (ds.sizes["time"], ds.time.values[0].hour) == (7, 6)
        np.testing.assert_allclose(ds["total_precipitation_6hr"], 0.002, rtol=1e-6)

    def test_a_record_without_leap_years_makes_samples(self, catalogue):
        record = Record.of(archives.open_cmip6("TaiESM1", ["z500"], catalogue=catalogue))
        assert len(ForecastSamples.of(record, leads=(6, 12))) == 7

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (
                {"model": "MPI-ESM1-2-HR"},
                "no source_id 'MPI-ESM1-2-HR' .*expected one of TaiESM1; in Python, .*catalogue=None\\) asks the nodes of ESGF",
            ),
            ({"table": "day"}, "no table_id 'day'.*expected one of 6hrPlevPt"),
            ({"variables": ["t600"]}, "no temperature_600; it has temperature at 250, 500, 850 hPa"),
            ({"variables": ["q850"]}, "no hus of this run; it has pr, ta, zg"),
            ({"variables": ["skin_temperature"]}, "CMIP6 has no name here for skin_temperature"),
            ({"catalogue": "/nowhere/pangeo-cmip6.csv"}, "pangeo-cmip6.csv is not there"),
            ({"catalogue": None}, "need the package intake-esgf"),
        ],
    )
    def test_bad_requests_get_a_sentence(self, catalogue, change, says):
        with pytest.raises(ValueError, match=says):
            archives.open_cmip6(**{"model": "TaiESM1", "variables": ["z500"], "catalogue": catalogue} | change)

    def test_the_five_models_of_the_paper(self):
        assert set(archives.CMIP6_MODELS) == {
            "MPI-ESM1-2-HR",
            "TaiESM1",
            "AWI-ESM-1-1-LR",
            "MPI-ESM-1-2-HAM",
            "CMCC-CM2-HR4",
        }


class TestClimateBench:
    @pytest.fixture
    def folder(self, tmp_path):
        fakes.climatebench(tmp_path / "train_val")
        return tmp_path

    def test_a_scenario_has_the_historical_forcings_before_it(self, folder):
        x, y = archives.open_climatebench(folder, "ssp245")
        assert list(x.data_vars) == ["CO2", "SO2", "CH4", "BC"]
        assert x.time.values.tolist() == [*range(2003, 2027)]
        assert y.time.values.tolist() == [*range(2015, 2027)]
        assert {v: (a.dims, a.dtype) for ds in (x, y) for v, a in ds.data_vars.items()} == {
            v: (("time", "lat", "lon"), np.float32) for v in (*x.data_vars, *y.data_vars)
        }
        assert float(x["CO2"].std(("lat", "lon")).max()) == 0  # a global series is the same everywhere
        at = {"lat": 22.5, "lon": 90}
        np.testing.assert_allclose(x["CO2"].sel(at).sel(time=[2003, 2014, 2015, 2026]), [0.1883, 1500, 1536, 4524])
        np.testing.assert_allclose(x["CH4"].sel(at).sel(time=[2014, 2015]), [0.3712, 0.3737])
        np.testing.assert_allclose(x["SO2"].sel(at).sel(time=[2003, 2015]), [2.003, 2.015])
        np.testing.assert_allclose(x["BC"].sel(at).sel(time=[2003, 2015]), [4.006, 4.03])

    def test_targets_are_the_mean_of_the_members_that_a_year_has(self, folder):
        _, y = archives.open_climatebench(folder, "ssp245")
        last = y.isel(time=[0, -1], lat=0, lon=0)
        # members 1, 2 and 3 in 2015; 1 and 2 in 2026
        np.testing.assert_allclose(last["2m_temperature"], [2017, 2027.5])
        np.testing.assert_allclose(last["diurnal_temperature_range"], [201.7, 202.75], rtol=1e-6)
        np.testing.assert_allclose(last["precipitation_rate"], [-2.017e-5, -2.0275e-5], rtol=1e-6)
        np.testing.assert_allclose(last["precipitation_rate_90"], [2.017e-4, 2.0275e-4], rtol=1e-6)

    def test_one_member(self, folder):
        _, second = archives.open_climatebench(folder, "ssp245", member=2)
        assert float(second["2m_temperature"][-1, 0, 0]) == 2028
        _, third = archives.open_climatebench(folder, "ssp245", member=3)
        assert third.time.values.tolist() == [*range(2015, 2026)]  # it lacks the last
        with pytest.raises(ValueError, match="ssp245 has no member 4: expected one of 1, 2, 3"):
            archives.open_climatebench(folder, "ssp245", member=4)

    def test_units_are_stated_and_a_change_is_called_so(self, folder):
        x, y = archives.open_climatebench(folder, "historical")
        assert {v: a.attrs["units"] for v, a in x.data_vars.items()} == {
            "CO2": "Gt", "SO2": "kg m-2 s-1", "CH4": "Gt yr-1", "BC": "kg m-2 s-1",
        }  # fmt: skip
        assert y["precipitation_rate_90"].attrs["units"] == "kg m-2 s-1"
        assert all("minus its mean in the pre-industrial control" in a.attrs["long_name"] for a in y.data_vars.values())
        assert x.time.values.tolist() == y.time.values.tolist() == [*range(2003, 2015)]

    def test_windows_by_run(self, folder):
        runs = {run: archives.open_climatebench(folder, run) for run in ("historical", "ssp245")}
        learn, held = by_run(runs, ["ssp245"])
        assert len(ProjectionSamples.of({run: runs[run] for run in learn})) == 3  # years 10, 11 and 12
        test = ProjectionSamples.of({run: runs[run] for run in held})
        assert test.years.tolist() == [*range(2015, 2027)]  # the first looks back into 2006 to 2014
        first = test.batch(np.array([[0]]))
        np.testing.assert_allclose(first.x[0, :, 1, 0, 0], np.arange(2006, 2016) / 1000)  # SO2

    def test_the_grid_of_noresm2(self, tmp_path):
        fakes.climatebench(tmp_path, *fakes.NORESM2, years=2)
        x, y = archives.open_climatebench(tmp_path, "ssp245")
        np.testing.assert_array_equal(x.lat, y.lat)
        grid = Grid.from_dataset(y)
        assert (grid.shape, grid.periodic) == ((96, 144), True)
        np.testing.assert_allclose(grid.lat[:3], [-90, -88.11, -86.21], atol=0.01)
        coarse = regrid(y, Grid.regular(32, 64))
        np.testing.assert_allclose(coarse["2m_temperature"][0], 2017)

    def test_last_digits_of_the_axes_may_differ(self, folder):
        path = folder / "train_val/inputs_historical.nc"
        ds = xr.load_dataset(path)
        ds.assign_coords(latitude=ds.latitude + 1e-6).to_netcdf(path)
        x, y = archives.open_climatebench(folder, "ssp245")
        assert (x.sizes["lat"], bool(x["CO2"].isnull().any())) == (4, False)
        np.testing.assert_array_equal(x.lat, y.lat)

    def test_bad_requests_get_a_sentence(self, folder):
        with pytest.raises(
            ValueError, match=r"no outputs_ssp585.nc; it has inputs_historical.nc.*climax-lite data get climatebench"
        ):
            archives.open_climatebench(folder, "ssp585")
        with pytest.raises(
            ValueError, match=r"unknown run '1pctCO2': expected one of historical.*no maps of emissions"
        ):
            archives.open_climatebench(folder, "1pctCO2")
        path = folder / "train_val/outputs_ssp245.nc"
        ds = xr.load_dataset(path)
        ds.isel(lat=slice(0, 2)).to_netcdf(path)
        with pytest.raises(ValueError, match="on one grid, got others in lat"):
            archives.open_climatebench(folder, "ssp245")
        ds.assign(pr=ds["pr"].assign_attrs(units="mm day-1")).to_netcdf(path)
        with pytest.raises(ValueError, match=r"precipitation_rate in 'kg m-2 s-1', got 'mm day-1'"):
            archives.open_climatebench(folder, "ssp245")
        ds.drop_vars("pr90").to_netcdf(path)
        with pytest.raises(ValueError, match=r"outputs_ssp245.nc has no pr90; it has .*not the published file"):
            archives.open_climatebench(folder, "ssp245")


class TestFolder:
    def test_files_of_years_and_of_variables_are_joined(self, tmp_path):
        for year in (2001, 2002):
            t = fakes.times(
                f"{year}-01-01" if year == 2002 else "2001-12-31", f"{year + 1}-01-01" if year == 2001 else "2002-01-02"
            )
            for name, units in (("t2m", "K"), ("msl", "hPa")):
                ds = xr.Dataset(
                    {name: (("time", "lat", "lon"), fakes.field(t), {"units": units})},
                    {"time": t, "lat": fakes.LAT, "lon": fakes.LON},
                )
                ds.to_netcdf(tmp_path / f"{name}_{year}.nc")
        ds = archives.open_folder(tmp_path)
        assert dict(ds.sizes) == {"time": 8, "lat": 4, "lon": 8}
        assert (
            float(ds["mean_sea_level_pressure"].sel(time="2002-01-01T06", lat=22.5, lon=135)) == 62300
        )  # hour 6, row 2, column 3; hPa
        assert list(archives.open_folder(tmp_path, ["t2m"], (2002, 2002)).data_vars) == ["2m_temperature"]

    def test_a_packed_file_and_a_store(self, tmp_path):
        world = Path(__file__).parents[2] / "data/reference/1985.cxp"
        assert archives.open_folder(world, ["t2m"]).sizes["time"] == 1460
        fakes.weatherbench2(tmp_path / "copy.zarr")
        # A copy does not say where it comes from.
        with pytest.raises(
            ValueError, match=r"got no units.*source='weatherbench2' \(in the command: --archive weather"
        ):
            archives.open_folder(tmp_path / "copy.zarr", ["t2m"])
        ds = archives.open_folder(tmp_path / "copy.zarr", source="weatherbench2")
        assert ds["geopotential_500"].attrs["units"] == "m2 s-2"
        assert "vertical_velocity" not in ds  # the archive holds more than we have names for

    def test_bad_requests_get_a_sentence(self, tmp_path):
        with pytest.raises(ValueError, match="does not exist: give a file, a zarr store, or a folder"):
            archives.open_folder(tmp_path / "nowhere")
        with pytest.raises(ValueError, match=r"holds nothing to read: expected files ending in .nc"):
            archives.open_folder(tmp_path)
        (tmp_path / "half.nc").write_bytes(b"CDF\x01 half a file")
        with pytest.raises(ValueError, match=r"half.nc could not be read.*is it whole"):
            archives.open_folder(tmp_path)
        (tmp_path / "half.nc").unlink()
        with zipfile.ZipFile(tmp_path / "broken.cxp", "w"):
            pass
        with pytest.raises(ValueError, match="not a whole packed file"):
            archives.open_folder(tmp_path)

    @needs_real
    def test_grib(self):
        pytest.importorskip("cfgrib", reason="GRIB needs the package cfgrib", exc_type=Exception)
        ds = archives.open_folder(Path(REAL) / "pl_regular_ll.grib", ["z500", "t850"])
        assert dict(ds.sizes) == {"time": 8, "lat": 19, "lon": 36}

    def test_grib_without_its_reader_gets_a_sentence(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "cfgrib", None)
        (tmp_path / "a.grib").write_bytes(b"GRIB")
        with pytest.raises(ValueError, match="is GRIB, which needs the package cfgrib: pip install cfgrib"):
            archives.open_folder(tmp_path)
