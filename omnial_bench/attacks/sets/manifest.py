"""What is written beside an adversarial set, and the check of the set against it. No torch here."""

import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from omnial_bench.config.load import parse
from omnial_bench.config.schema import Record, Threat
from omnial_bench.errors import UserError
from omnial_bench.io.whole import sha256

NAME = "manifest.json"
PACKAGES = ("omnial-bench", "torch", "torchattacks", "numpy", "pillow", "scipy", "scikit-image")
THREADS = min(8, os.cpu_count() or 1)
_IMAGE = re.compile(r"(?P<category>[^/]+)/test/(?P<defect>good|synthetic)/(?P<stem>[^/]+)\.png")


class Source(Record):
    """A model that the attack was computed on, with the SHA-256 of its checkpoint."""

    name: str
    sha256: str


class File(Record):
    """A file of the set; `change` is the largest change by the attack in grey levels, null where nothing was
    attacked."""

    sha256: str
    change: int | None


class Counts(Record):
    good: Annotated[int, Field(ge=0)]
    synthetic: Annotated[int, Field(ge=0)]


class Loss(Record):
    """Mean loss over the attacked images before each step."""

    steps: tuple[float, ...]


class Manifest(Record):
    """manifest.json of one set."""

    suite: str
    threat: Threat
    label: str
    aim: str = ""
    """Which figures of the sources the attack went for; empty in sets that do not say."""
    sources: tuple[Source, ...]
    seed: int
    dataset: str
    data_fingerprint: str
    size: tuple[int, int]
    counts: dict[str, Counts]
    loss: Loss
    largest_change: int
    versions: dict[str, str]
    files: dict[str, File]

    @property
    def source(self) -> str:
        """The source models joined by `+`, or `none`."""
        return "+".join(source.name for source in self.sources) or "none"

    def images(self, category: str) -> list[tuple[str, str]]:
        """(defect, stem) of each image of a category, good ones first."""
        found = (_IMAGE.fullmatch(path) for path in sorted(self.files))
        return [(match["defect"], match["stem"]) for match in found if match and match["category"] == category]


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide the bytes of a set; a checkout that is not installed has none of its own."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def companions(category: str, defect: str, stem: str) -> list[str]:
    """The files that stand for one image: itself, the normal it was made from, and for an anomaly mask and
    original."""
    paths = [f"{category}/test/{defect}/{stem}.png", f"{category}/clean/{defect}/{stem}.png"]
    if defect == "synthetic":
        paths += [f"{category}/original/synthetic/{stem}.png", f"{category}/ground_truth/synthetic/{stem}_mask.png"]
    return paths


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a set; UserError where it is missing or is not one."""
    path = folder / NAME
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"expected an adversarial set at {folder}, found no {NAME}; give a folder under sets/"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}; build the set again") from error
    if not isinstance(table, dict):
        raise UserError(f"cannot read {path}: expected a table, got {type(table).__name__}; build the set again")
    return parse(Manifest, table, str(path))


def verify(folder: Path, manifest: Manifest) -> None:
    """Raise UserError naming the first file that leaves the folder, is missing, is not in the manifest, or was
    changed."""
    for name in sorted(manifest.files):
        if not _stays(folder, name):
            raise UserError(f"{folder / NAME} names {name!r}, expected a path inside the set; do not use this set")
    _compare(folder, manifest.files, _expected(manifest), "its manifest")
    largest = max((file.change or 0 for file in manifest.files.values()), default=0)
    if largest != manifest.largest_change:
        raise UserError(
            f"{folder / NAME} names {manifest.largest_change} as the largest change, its files say {largest}; "
            "build the set again"
        )
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {NAME}
    _compare(folder, present, manifest.files, "the folder")
    names = sorted(manifest.files)
    with ThreadPoolExecutor(THREADS) as pool:
        for name, found in zip(names, pool.map(sha256, [folder / name for name in names]), strict=True):
            if found != manifest.files[name].sha256:
                raise UserError(
                    f"{folder / name} is not the file of the manifest (SHA-256 differs); build the set again"
                )


def _stays(folder: Path, name: str) -> bool:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or path.as_posix() != name:
        return False
    if "\\" in name or ":" in path.parts[0]:
        return False
    try:
        return (folder / name).resolve().is_relative_to(folder.resolve())
    except (ValueError, OSError, RuntimeError):
        # A zero byte or half a character, which no file is called, or links in a circle.
        return False


def _expected(manifest: Manifest) -> set[str]:
    """Every file that the images and the counts of a manifest call for."""
    expected = set()
    if not manifest.counts:
        raise UserError(f"manifest of {manifest.threat.name}: expected images of some category, got none")
    for category, counts in manifest.counts.items():
        images = manifest.images(category)
        kinds = [defect for defect, _ in images]
        found = Counts(good=kinds.count("good"), synthetic=kinds.count("synthetic"))
        if found != counts or not kinds:
            raise UserError(f"manifest of {manifest.threat.name}: {category} counts {counts}, files say {found}")
        expected |= {path for defect, stem in images for path in companions(category, defect, stem)}
    return expected


def _compare(folder: Path, have: Iterable[str], want: Iterable[str], where: str) -> None:
    missing, extra = sorted(set(want) - set(have)), sorted(set(have) - set(want))
    if missing:
        raise UserError(f"adversarial set {folder}: {missing[0]} is missing in {where}; build the set again")
    if extra:
        raise UserError(f"adversarial set {folder}: {extra[0]} in {where} does not belong to the set; remove it")
