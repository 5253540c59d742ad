"""Re-create book/_vendor: the third-party web assets that the built book serves itself.

python tools/vendor.py            fetch the pinned packages with npm, verify them, write book/_vendor
python tools/vendor.py --check    verify that book/_vendor is what its manifest says; needs no network
"""

import argparse
import base64
import fnmatch
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[1] / "book" / "_vendor"
MANIFEST = VENDOR / "checksums.sha256"  # read by `sha256sum --check` too


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    integrity: str  # the sha512 of the tarball, as lock files write it
    root: str  # the folder of the tarball that becomes book/_vendor/<name>
    wanted: tuple[str, ...]  # glob patterns below that root


PACKAGES = (
    Package(
        name="mathjax",
        version="3.2.2",
        integrity="sha512-Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
        root="package/es5",
        wanted=(
            "tex-mml-chtml.js",
            "output/chtml/fonts/woff-v2/*.woff",
            # What the TeX autoloader fetches when a formula first says \boldsymbol, \cancel or \color.
            "input/tex/extensions/boldsymbol.js",
            "input/tex/extensions/cancel.js",
            "input/tex/extensions/color.js",
        ),
    ),
)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest() -> str:
    files = sorted(path for path in VENDOR.rglob("*") if path.is_file() and path != MANIFEST)
    return "".join(f"{sha256(path)}  {path.relative_to(VENDOR).as_posix()}\n" for path in files)


def fetch(package: Package, folder: Path) -> None:
    """Unpack the wanted files of one package, with its licence, into book/_vendor/<name>."""
    spec = f"{package.name}@{package.version}"
    subprocess.run(["npm", "pack", "--silent", spec], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    tarball = folder / f"{package.name}-{package.version}.tgz"
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != package.integrity:
        raise SystemExit(f"{spec}: expected {package.integrity}, got sha512-{digest}. Nothing was written.")

    target = VENDOR / package.name
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(tarball) as archive:
        for member in archive.getmembers():
            inner = member.name.removeprefix(f"{package.root}/")
            if member.name == "package/LICENSE":
                inner = "LICENSE"
            elif inner == member.name or not any(fnmatch.fnmatch(inner, pattern) for pattern in package.wanted):
                continue
            path = target / inner
            path.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None, "npm tarballs hold plain files only"
            path.write_bytes(content.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="verify book/_vendor against its manifest")
    if parser.parse_args().check:
        if not MANIFEST.exists() or manifest() != MANIFEST.read_text():
            sys.exit(f"{VENDOR.name} differs from {MANIFEST.name}: run `python tools/vendor.py`.")
        return

    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            fetch(package, Path(folder))
    MANIFEST.write_text(manifest())


if __name__ == "__main__":
    main()
