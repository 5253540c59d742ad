"""What the chapter *Start here* looks at before anything else: Python, the packages, the data, the machine."""

from __future__ import annotations

import html
import importlib
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..data import sources


@dataclass(frozen=True)
class Line:
    """One thing that was looked at: `ok` is None for what is for information only."""

    what: str
    found: str
    ok: bool | None = None
    advice: str = ""

    @property
    def mark(self) -> str:
        return {True: "✓", False: "✗", None: "·"}[self.ok]


@dataclass(frozen=True)
class Environment:
    """What `environment` found; a table in a notebook, lines elsewhere."""

    lines: tuple[Line, ...]

    @property
    def ok(self) -> bool:
        """Whether every chapter of the tier `tiny` will run."""
        return all(line.ok is not False for line in self.lines)

    @property
    def summary(self) -> str:
        failed = [line.what for line in self.lines if line.ok is False]
        return f"To do: {', '.join(failed)}." if failed else "Ready for the tier tiny."

    def __repr__(self) -> str:
        width = max(len(line.what) for line in self.lines)
        told = [
            f"{line.mark} {line.what:{width}}  {line.found}" + (f"\n    → {line.advice}" if line.advice else "")
            for line in self.lines
        ]
        return "\n".join([*told, self.summary])

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td>{line.mark}</td><th scope="row" style="text-align:left">{html.escape(line.what)}</th>'
            f'<td style="text-align:left">{html.escape(line.found)}'
            + (f"<br>→ {html.escape(line.advice)}" if line.advice else "")
            + "</td></tr>"
            for line in self.lines
        )
        return f"<table><tbody>{rows}</tbody></table><p><strong>{html.escape(self.summary)}</strong></p>"


PACKAGES = {
    # name: (oldest version, needed at all)
    "numpy": ("1.26", True),
    "torch": ("2.4", True),
    "xarray": ("2024.7", True),
    "matplotlib": ("3.8", True),
    "cartopy": ("0.23", True),
    "ipywidgets": ("8.1", False),
}
"""The lower bounds of `pyproject.toml`; without what is not needed at all, pictures stand still."""


def environment() -> Environment:
    """Look at Python, the packages, the data, the coastlines and the machine; every failing line says what to do."""
    return Environment((_python(), *(_package(name) for name in PACKAGES), *_data(), _coastlines(), *_machine()))


def _python() -> Line:
    ok = sys.version_info >= (3, 11)
    return Line("Python", platform.python_version(), ok, "" if ok else "The package needs Python 3.11 or newer.")


def _package(name: str) -> Line:
    oldest, needed = PACKAGES[name]
    update = f'python -m pip install "{name}>={oldest}"'
    try:
        version = str(importlib.import_module(name).__version__)
    except Exception as error:  # a library that is there and does not load fails in many ways
        return Line(
            name, f"does not import ({type(error).__name__}: {error})", False if needed else None, f"Run: {update}"
        )
    ok = _numbers(version) >= _numbers(oldest)
    return Line(name, version, ok if needed else ok or None, "" if ok else f"Older than {oldest}. Run: {update}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version.split("+")[0])[:2])


def _data() -> Iterator[Line]:
    import pooch

    again = "Delete the file and bring it back with: git checkout -- data"
    folder = sources.data_folder()
    for text in sources.REGISTRY.read_text().splitlines() if sources.REGISTRY.exists() else ():
        name, checksum = text.split()
        path = folder / name if folder else None
        if path is None or not path.exists():
            advice = "Work in a checkout of the repository, or set CLIMAX_LITE_DATA to its data folder."
            yield Line(f"data: {name}", "not here", False, advice)
            continue
        ok = pooch.file_hash(str(path), alg="sha256") == checksum.removeprefix("sha256:")
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        yield Line(f"data: {name}", f"{size}, checksum {'matches' if ok else 'differs'}", ok, "" if ok else again)
    try:
        ds = sources.open("reference")
        field = ds["2m_temperature"].isel(time=0)
        found = f"opens, {len(ds.data_vars)} variables, {ds.sizes['time']} times"
        yield Line("data: reference", found, bool(np.isfinite(field).all()))
    except Exception as error:
        yield Line("data: reference", f"does not open ({error})", False, again)


def _coastlines() -> Line:
    folder = sources.data_folder()
    shape = "natural_earth/shapefiles/natural_earth/physical/ne_110m_coastline"
    missing = [s for s in ("shp", "shx", "dbf") if folder is None or not (folder / f"{shape}.{s}").exists()]
    if missing:
        return Line("coastlines", "not here", False, "Bring them back with: git checkout -- data/natural_earth")
    return Line("coastlines", "here, no network needed", True)


def _machine() -> Iterator[Line]:
    yield Line("processor cores", str(os.cpu_count() or "unknown"))
    memory = _memory_gb()
    if memory is None:
        yield Line("memory", "unknown", None, "The chapters need about 4 GB.")
    else:
        ok = memory >= 3.5
        yield Line("memory", f"{memory:.0f} GB", ok, "" if ok else "Below 4 GB: open one notebook at a time.")
    yield Line("GPU", _gpu())


def _memory_gb() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _gpu() -> str:
    try:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
        return "Apple GPU" if torch.backends.mps.is_available() else "none; the tier tiny needs none"
    except Exception:
        return "unknown: torch does not import"
