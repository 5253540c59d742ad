"""The download command: whole or not at all, resumable, and a sentence for everything that can go wrong."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections import namedtuple

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("zarr")
pytest.importorskip("dask")
pytest.importorskip("jsonargparse")
from climax_lite import cli
from climax_lite.data import archives, download

from . import archive_fakes as fakes

NAMES = ["geopotential_500", "2m_temperature", "land_sea_mask"]


@pytest.fixture(scope="module")
def era5(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "era5.zarr"
    fakes.weatherbench2(path)
    return path


@pytest.fixture
def ds(era5):
    return archives.open_weatherbench2(era5, NAMES)  # 52 times


def same(out, ds):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.testing.assert_identical(xr.open_zarr(out, chunks=None).load(), ds.load())


class TestStore:
    def test_what_is_written_is_what_is_read(self, ds, tmp_path, capsys):
        download.write_store(ds, tmp_path / "out.zarr", block=10)
        same(tmp_path / "out.zarr", ds)
        assert os.listdir(tmp_path) == ["out.zarr"]
        # two variables that change, 52 times, 32 points, 4 bytes
        assert "3 variables at 52 times: 13.3 kB before compression, 6 blocks" in capsys.readouterr().out
        assert xr.open_zarr(tmp_path / "out.zarr")["2m_temperature"].chunks[0] == (10, 10, 10, 10, 10, 2)

    def test_blocks_are_whole_chunks_of_the_source(self, ds):
        assert ds["2m_temperature"].chunks[0][0] == 50
        assert download._block(ds["2m_temperature"], 120) == 52  # two chunks of 50 fit, and the record is shorter
        assert download._block(ds["2m_temperature"], 7) == 50  # one that is too large is still read once

    def test_a_failure_is_tried_again_then_kept_and_resumed(self, ds, tmp_path, monkeypatch):
        monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
        load, failures = xr.Dataset.load, []

        def flaky(self, *args, **kwargs):
            if "2m_temperature" in self and self.time.values[0] == ds.time.values[20]:
                failures.append(1)
                raise ConnectionError("reset by peer")
            return load(self, *args, **kwargs)

        monkeypatch.setattr(xr.Dataset, "load", flaky)
        with pytest.raises(
            ValueError, match=r"failed 4 times \(ConnectionError: reset by peer\).*same command goes on"
        ):
            download.write_store(ds, tmp_path / "out.zarr", block=10, workers=1)
        assert len(failures) == 4
        monkeypatch.undo()
        done = json.loads((tmp_path / "out.zarr.part.json").read_text())["done"]
        assert {0, 10} <= set(done) < set(range(0, 52, 10))
        written = []
        write = download._write_block
        monkeypatch.setattr(download, "_write_block", lambda d, p, s: (written.append(s.start), write(d, p, s)))
        download.write_store(ds, tmp_path / "out.zarr", block=10)
        assert set(written) == set(range(0, 52, 10)) - set(done)
        same(tmp_path / "out.zarr", ds)

    def test_a_full_disk_on_the_way(self, ds, tmp_path, monkeypatch):
        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as m:
            m.setattr(download, "_write_block", full)
            with pytest.raises(ValueError, match=r"the disk is full: make room; .*out.zarr.part is kept"):
                download.write_store(ds, tmp_path / "out.zarr")
        download.write_store(ds, tmp_path / "out.zarr")
        same(tmp_path / "out.zarr", ds)

    def test_a_disk_that_is_too_small_before_the_first_byte(self, ds, tmp_path, monkeypatch):
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage(1e6, 1e6, 1000))
        with pytest.raises(ValueError, match=r"expected 13.3 kB of free disk in .*, got 1 kB: choose fewer years"):
            download.write_store(ds, tmp_path / "new/out.zarr")
        assert not os.listdir(tmp_path)

    def test_another_download_under_the_same_name(self, ds, tmp_path, monkeypatch):
        with monkeypatch.context() as m:
            m.setattr(download, "_write_block", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                download.write_store(ds, tmp_path / "out.zarr")
        with pytest.raises(
            ValueError, match=r"beginning of another download \(weatherbench2, 3 variables, 2014-12-30 to 2015-01-11\)"
        ):
            download.write_store(ds.isel(time=slice(5)), tmp_path / "out.zarr")
        download.write_store(ds, tmp_path / "out.zarr")
        for other in (
            ds.isel(time=slice(5)),
            ds[NAMES[:2]],
            ds.isel(lon=slice(4)),
            ds.assign_attrs(source_id="TaiESM1"),
        ):
            with pytest.raises(
                ValueError, match=r"out.zarr exists and holds something else: give another name with --out"
            ):
                download.write_store(other, tmp_path / "out.zarr")
        same(tmp_path / "out.zarr", ds)

    def test_what_is_whole_already_is_left_alone(self, ds, tmp_path, capsys, monkeypatch):
        download.write_store(ds, tmp_path / "out.zarr")
        monkeypatch.setattr(download, "_write_block", lambda *a: pytest.fail("nothing was left to write"))
        assert download.write_store(ds[NAMES[::-1]], tmp_path / "out.zarr") == tmp_path / "out.zarr"
        assert capsys.readouterr().out.endswith("nothing to fetch: 3 variables at 52 times, all there already\n")
        same(tmp_path / "out.zarr", ds)

    def test_a_file_or_folder_under_the_name_is_no_store(self, ds, tmp_path):
        (tmp_path / "file").write_text("notes")
        (tmp_path / "folder").mkdir()
        for name in ("file", "folder"):
            with pytest.raises(ValueError, match="exists and holds something else"):
                download.write_store(ds, tmp_path / name)

    def test_two_models_on_one_grid_are_two_downloads(self, ds, tmp_path, monkeypatch):
        """TaiESM1 and CMCC-CM2-HR4 share their grid, calendar and years: one must not go on where the other was stopped."""
        first, second = (ds.assign_attrs(source_id=model) for model in ("TaiESM1", "CMCC-CM2-HR4"))
        with monkeypatch.context() as m:
            m.setattr(download, "_write_block", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                download.write_store(first, tmp_path / "out.zarr")
        with pytest.raises(ValueError, match="beginning of another download"):
            download.write_store(second, tmp_path / "out.zarr")

    def test_a_kill_leaves_nothing_that_opens_and_the_same_command_goes_on(self, era5, tmp_path):
        """SIGKILL, at a block's end of its own choosing; then the command again, in a process of its own."""
        code = (
            "import sys, time; from climax_lite.data import archives, download; write = download._write_block\n"
            "def slow(*a):\n    write(*a)\n    time.sleep(float(sys.argv[1]))\n"
            "download._write_block = slow\n"
            f"ds = archives.open_weatherbench2({str(era5)!r}, {NAMES!r})\n"
            f"download.write_store(ds, {str(tmp_path / 'out.zarr')!r}, block=5, workers=1)\n"
        )
        manifest = tmp_path / "out.zarr.part.json"
        with subprocess.Popen(
            [sys.executable, "-c", code, "0.3"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            while process.poll() is None and (
                not manifest.exists() or len(json.loads(manifest.read_text())["done"]) < 2
            ):
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "out.zarr").exists()
        for path in (tmp_path / "out.zarr.part", tmp_path):
            with pytest.raises(ValueError, match=r"not there|holds nothing to read"):
                archives.open_folder(path)
        with pytest.raises(FileNotFoundError):
            xr.open_zarr(tmp_path / "out.zarr.part")
        assert 2 <= len(json.loads(manifest.read_text())["done"]) < 11
        subprocess.run([sys.executable, "-c", code, "0"], check=True, stdout=subprocess.DEVNULL)
        same(tmp_path / "out.zarr", archives.open_weatherbench2(era5, NAMES))
        assert os.listdir(tmp_path) == ["out.zarr"]

    def test_while_it_is_laid_out_it_never_opens(self, ds, tmp_path, monkeypatch):
        """A kill leaves what is on the disk at that moment: look whenever a file or a folder is made."""
        part, looks = tmp_path / "out.zarr.part", []

        def look(event, args):
            if event in ("open", "os.mkdir", "os.rename") and looking and str(part) in str(args[0]):
                looks.append([mark for mark in (".zgroup", ".zmetadata", "zarr.json") if (part / mark).exists()])

        def stop(*args):
            raise InterruptedError

        looking = True
        sys.addaudithook(look)  # it cannot be taken away, only be told to look no more
        monkeypatch.setattr(download, "_write_block", stop)
        with pytest.raises(InterruptedError):
            download.write_store(ds, tmp_path / "out.zarr")
        looking = False
        assert len(looks) > 10
        assert not any(looks)

    def test_a_kill_while_it_is_laid_out(self, era5, ds, tmp_path):
        out, part = tmp_path / "out.zarr", tmp_path / "out.zarr.part"
        code = (
            "import os, signal, sys; from climax_lite.data import archives, download\n"
            "def kill(event, args):\n"
            f"    if event == 'open' and str(args[0]).startswith({str(part / 'lon')!r}): os.kill(os.getpid(), signal.SIGKILL)\n"
            "sys.addaudithook(kill)\n"
            f"download.write_store(archives.open_weatherbench2({str(era5)!r}, {NAMES!r}), {str(out)!r})\n"
        )
        assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == -signal.SIGKILL
        assert os.listdir(tmp_path) == ["out.zarr.part"]
        with pytest.raises(FileNotFoundError):
            xr.open_zarr(part)
        with pytest.raises(ValueError, match=r"holds nothing to read.*an unfinished download"):
            archives.open_folder(part)
        download.write_store(ds, out)
        same(out, ds)
        assert os.listdir(tmp_path) == ["out.zarr"]

    def test_a_manifest_that_lost_its_store_is_no_beginning(self, ds, tmp_path):
        """As after a kill between the store's new name and the manifest's end, once the store is deleted."""
        manifest = {**download._about(ds, 52), "done": [0]}
        (tmp_path / "out.zarr.part.json").write_text(json.dumps(manifest))
        download.write_store(ds, tmp_path / "out.zarr", block=52)
        same(tmp_path / "out.zarr", ds)
        assert os.listdir(tmp_path) == ["out.zarr"]


def run(*words) -> int:
    try:
        return cli.main(["data", *map(str, words)])
    except SystemExit as stop:  # how the parser ends
        return stop.code


class TestCommand:
    def test_a_part_of_weatherbench2_over_http(self, era5, tmp_path, capsys):
        out = tmp_path / "folder/era5.zarr"
        with fakes.served(era5.parent) as (address, _):
            words = ("--years", "2015:2015", "--variables", "z500,t2m", "--out", out, "--source", f"{address}era5.zarr")
            assert run("get", "weatherbench2", *words) == 0
        ds = archives.open_folder(out)
        assert set(ds.data_vars) == {"geopotential_500", "2m_temperature"}
        assert float(ds["2m_temperature"].sel(time="2015-01-02T06", lat=22.5, lon=135)) == 10623
        printed = capsys.readouterr().out.splitlines()
        assert printed[0] == "of the year 2015 there is only 2015-01-01 to 2015-01-11"
        assert printed[1].startswith("2 variables at 44 times: 11.3 kB before compression, 1 block, to ")
        assert run("check", out) == 0
        printed = capsys.readouterr().out.splitlines()
        # the largest of 11 days: day 10, hour 18, row 3, column 7
        row = next(line for line in printed if line.startswith("2m_temperature"))
        assert row.startswith("2m_temperature    K                      0")
        assert row.endswith("1.0184e+05  0.0%")
        assert printed[-2:] == [
            "2 variables on 4 x 8 points",
            "44 times from 2015-01-01T00:00 to 2015-01-11T18:00, calendar proleptic_gregorian",
        ]
        assert max(map(len, printed)) <= 80  # the page shows no more

    def test_the_same_command_after_success_says_so(self, era5, tmp_path, capsys):
        words = ("get", "weatherbench2", "--variables", "t2m", "--source", era5, "--out", tmp_path / "era5.zarr")
        assert run(*words) == 0
        capsys.readouterr()
        assert run(*words) == 0
        printed = capsys.readouterr().out.splitlines()
        assert printed[0] == "nothing to fetch: 1 variable at 52 times, all there already"
        assert "era5.zarr is whole;" in printed[1]
        assert run(*words, "--years", "2015") == 2  # another part under the same name
        assert "holds something else" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("first", "last", "step", "calendar", "years", "says"),
        [
            ("1985-01-01", "1986-12-31T18", "6h", "standard", (1985, 1986), ""),
            ("1985-01-01T06", "1987-01-01", "6h", "noleap", (1985, 1986), ""),  # means, labelled by their ends
            ("1985-01-01T12", "1985-12-30T12", "1D", "360_day", (1985, 1985), ""),
            ("1985-01-01", "1985-12-31T18", "6h", "standard", (1985, 1986), "years 1985 to 1986 there is only 1985-01-01 to 1985-12-31"),
            ("1985-01-01", "1986-01-10T18", "6h", "noleap", (1985, 1986), "years 1985 to 1986 there is only 1985-01-01 to 1986-01-10"),
            ("1985-02-01", "1985-12-30T18", "6h", "360_day", (1985, 1985), "year 1985 there is only 1985-02-01 to 1985-12-30"),
            ("1985-03-01", "1985-03-01", "6h", "standard", (1985, 1985), "year 1985 there is only 1985-03-01 to 1985-03-01"),
        ],
    )  # fmt: skip
    def test_years_that_an_archive_has_in_part(self, first, last, step, calendar, years, says, capsys):
        times = xr.date_range(first, last, freq=step, calendar=calendar)
        download._say_what_is_lacking(xr.Dataset(coords={"time": times}), years)
        assert capsys.readouterr().out == (f"of the {says}\n" if says else "")

    def test_by_default_the_variables_of_climax_that_are_there(self, era5, tmp_path):
        assert run("get", "weatherbench2", "--source", era5, "--out", tmp_path / "a.zarr") == 0
        assert set(xr.open_zarr(tmp_path / "a.zarr").data_vars) == {
            "land_sea_mask", "orography", "2m_temperature",
            *(f"{q}_{level}" for q in ("geopotential", "temperature", "relative_humidity") for level in (50, 500, 850)),
        }  # fmt: skip

    def test_a_model_of_cmip6_keeps_its_calendar(self, tmp_path, capsys):
        catalogue = fakes.cmip6(tmp_path / "cmip6")
        out = tmp_path / "taiesm1.zarr"
        assert (
            run("get", "cmip6", "--model", "TaiESM1", "--variables", "z500", "--source", catalogue, "--out", out) == 0
        )
        assert archives.open_folder(out).time.dt.calendar == "noleap"
        assert (
            run("get", "cmip6", "--model", "TaiESM1", "--variables", "z500", "--source", catalogue, "--out", out) == 0
        )
        assert "nothing to fetch: 1 variable at 8 times" in capsys.readouterr().out

    def test_climatebench_from_a_mirror(self, tmp_path, capsys):
        fakes.climatebench_mirror(tmp_path / "mirror")
        with fakes.served(tmp_path / "mirror") as (address, _):
            assert run("get", "climatebench", "--out", tmp_path / "cb", "--source", address) == 0
            assert [p.name for p in tmp_path.iterdir() if p.name.startswith("cb")] == ["cb"]
            x, y = archives.open_climatebench(tmp_path / "cb", "ssp245")
            assert (x.sizes["time"], y.sizes["time"]) == (24, 12)
            capsys.readouterr()
            assert run("get", "climatebench", "--out", tmp_path / "cb", "--source", address) == 0
            assert "nothing to fetch: both archives are there already" in capsys.readouterr().out
            (tmp_path / "notes").mkdir()
            assert run("get", "climatebench", "--out", tmp_path / "notes", "--source", address) == 2
            assert "exists and does not hold ClimateBench" in capsys.readouterr().err
            path = tmp_path / "mirror/test.tar.gz"
            path.write_bytes(path.read_bytes()[:-1] + b"x")
            assert run("get", "climatebench", "--out", tmp_path / "damaged", "--source", address) == 2
        assert "ClimateBench could not be fetched" in capsys.readouterr().err
        assert not (tmp_path / "damaged").exists()

    def test_zips_of_weatherbench1(self, tmp_path, capsys):
        fakes.weatherbench1(tmp_path / "mirror")
        with zipfile.ZipFile(tmp_path / "mirror/2m_temperature_5.625deg.zip") as archive:
            assert archive.testzip() is None
        with fakes.served(tmp_path / "mirror") as (address, asked):
            words = (
                "get",
                "weatherbench1",
                "--variables",
                "t2m,orography",
                "--out",
                tmp_path / "wb1",
                "--source",
                address + "{file}",
            )
            assert run(*words) == 0
            assert {p.name for p in (tmp_path / "wb1").iterdir()} == {
                "2m_temperature_5.625deg.zip",
                "constants_5.625deg.nc",
            }
            before = len(asked)
            assert "2 of 2 files to fetch" in capsys.readouterr().out
            assert run(*words) == 0  # nothing is fetched twice
            assert len(asked) == before
            assert "nothing to fetch: all files are there already" in capsys.readouterr().out
            (tmp_path / "mirror/10m_u_component_of_wind_5.625deg.zip").write_text("<html>maintenance</html>")
            assert run(*words[:3], "u10", *words[4:]) == 2
        assert "what came for 10m_u_component_of_wind_5.625deg.zip is not a whole file" in capsys.readouterr().err
        assert len(list((tmp_path / "wb1").iterdir())) == 2
        assert np.isfinite(archives.open_weatherbench1(tmp_path / "wb1", ["t2m"], (2015, 2015))["2m_temperature"]).all()

    def test_which_file_of_weatherbench1_holds_a_level(self):
        stems = [
            archives.weatherbench1_stem(name)
            for name in ("z500", "z850", "t850", "t2m", "total_precipitation_6hr", "orography")
        ]
        assert stems == [
            "geopotential_500",
            "geopotential",
            "temperature_850",
            "2m_temperature",
            "total_precipitation",
            "constants",
        ]
        # 40 years of 365.25 days, 24 hours, 2,048 points, 4 bytes: 2.87 GB; thirteen levels 37.3 GB
        assert archives.weatherbench1_bytes("2m_temperature") == 40 * 365.25 * 24 * 2048 * 4
        assert archives.weatherbench1_bytes("geopotential") == 13 * archives.weatherbench1_bytes("geopotential_500")

    def test_no_network_names_the_option_and_no_stack(self, capsys, monkeypatch, tmp_path):
        def refuse(*args, **options):
            raise OSError("unreachable")

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(archives.urllib.request, "getproxies", dict)
        monkeypatch.setattr(archives.socket, "create_connection", refuse)
        for words, host, advice in (
            (
                ("cmip6", "--model", "TaiESM1", "--variables", "z500"),
                "storage.googleapis.com",
                "in the command --source",
            ),
            (("weatherbench1", "--variables", "t2m"), "dataserv.ub.tum.de", "give a mirror with --source"),
            (("climatebench",), "zenodo.org", "give a mirror with --source"),
        ):
            assert run("get", *words) == 2
            error = capsys.readouterr().err
            assert f"no network: {host} cannot be reached" in error
            assert advice in error
            assert len(error) < 320

    def test_behind_a_proxy_the_reason_is_the_innermost(self, capsys, monkeypatch, tmp_path):
        """There nobody can tell beforehand, and urllib3 speaks of pools, retries and objects."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(archives, "unreachable", lambda address: None)
        assert run("get", "weatherbench1", "--variables", "t2m", "--source", "http://127.0.0.1:9/{file}") == 2
        error = capsys.readouterr().err
        assert "Connection refused): try again" in error
        assert "Pool" not in error

    def test_a_copy_of_an_archive_is_checked_by_its_name(self, era5, capsys):
        assert run("check", era5) == 2
        assert "in the command: --archive weatherbench2" in capsys.readouterr().err
        assert run("check", era5, "--archive", "weatherbench2") == 0
        assert "total_precipitation_6hr" in capsys.readouterr().out
        assert run("check", era5, "--archive", "era6") == 2

    def test_list_waits_for_no_transform(self):
        code = (
            "import sys; from climax_lite import cli; cli.main(['data', 'list']); sys.exit('scipy.fft' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

    def test_list(self, capsys):
        assert run("list") == 0
        printed = capsys.readouterr().out
        assert all(name in printed for name in (*download.ARCHIVES, *archives.CMIP6_MODELS))

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            ((), "subcommand"),
            (("fetch",), "fetch"),
            (("get",), "archive"),
            (("get", "era6"), "era6"),
            (("get", "weatherbench2", "--year", "2015"), "--year"),
            (
                ("get", "weatherbench2", "--years", "2018:2015"),
                "expected years such as 2015:2018 or 2015, got '2018:2015'",
            ),
            (("get", "weatherbench2", "--years", "the nineties"), "expected years such as 2015:2018"),
            (("get", "weatherbench2", "--variables", "2m_temprature"), "did you mean '2m_temperature'"),
            (("get", "weatherbench2", "--variables", "zz"), "the nearest name is 'z500'"),
            (("get", "weatherbench2", "--workers", "0"), "expected one worker or more, got 0"),
            (("get", "weatherbench2", "--workers", "many"), "many"),
            (("get", "weatherbench2", "--source", "/nowhere.zarr"), "/nowhere.zarr is not there"),
            (("get", "cmip6"), "expected --model, such as MPI-ESM1-2-HR"),
            (("get", "cmip6", "--model", "X"), "expected --variables, such as z500,t850"),
            (
                ("get", "cmip6", "--model", "X", "--variables", "z500", "--source", "/nowhere.csv"),
                "/nowhere.csv is not there",
            ),
            (("get", "weatherbench1"), "expected --variables.*250 GB"),
            (("get", "weatherbench1", "--variables", "t2m", "--years", "2015"), "leave out --years"),
            (
                ("get", "weatherbench1", "--variables", "t2m", "--source", "http://127.0.0.1:9/{variable}"),
                "2m_temperature_5.625deg.zip could not be fetched",
            ),
            (("get", "climatebench", "--variables", "t2m"), "leave out --variables"),
            (("get", "climatebench", "--source", "http://127.0.0.1:9/"), "ClimateBench could not be fetched"),
            (("check",), "path"),
            (("check", "/nowhere"), "/nowhere does not exist"),
        ],
    )
    def test_a_wrong_option_is_a_sentence_and_exit_status_two(self, words, says, capsys, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        assert run(*words) == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert __import__("re").search(says, error), error
