"""The room itself: light to enter, and every name in it is found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import climax_lite.data as room

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("does", "without"),
    [
        ("import climax_lite.data", ("torch", "xarray", "pooch")),
        ("import climax_lite.data as d; float(d.open('reference')['2m_temperature'][0, 0, 0]); d.statistics", ("torch",)),
        ("from climax_lite.cli import main; assert main(['data', 'list']) == 0", ("torch", "zarr", "dask")),
    ],
)  # fmt: skip
def test_what_reads_and_lists_data_needs_no_torch(does, without):
    code = f"{does}\nimport sys; print(*[m for m in {without!r} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.split() == []


def test_every_name_is_found_listed_and_seen_by_type_checkers():
    seen = re.search(r"if TYPE_CHECKING:\n(.*?)\n\n", Path(room.__file__).read_text(), re.DOTALL)[1]
    for name in room.__all__:
        assert getattr(room, name) is not None
        assert name in dir(room)
        assert re.search(rf"\b{name}\b", seen)
    assert room.ForecastSamples is room.forecast.ForecastSamples
    assert room.archives.__name__ == "climax_lite.data.archives"


def test_a_typo_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'opne'"):
        room.opne  # noqa: B018
