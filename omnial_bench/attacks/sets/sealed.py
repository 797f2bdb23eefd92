"""A sealed adversarial set: how it comes to be whole, and how it is read back."""

import glob
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from omnial_bench.attacks.levels import keeps, largest_change
from omnial_bench.attacks.sets.manifest import NAME, THREADS, Manifest, companions, read_manifest, verify
from omnial_bench.attacks.sets.png import from_rows, read_png
from omnial_bench.data.images import Images
from omnial_bench.errors import UserError, unknown
from omnial_bench.io.lock import abandoned, shared
from omnial_bench.io.whole import beside, make_folder, sync_folder, sync_tree
from omnial_bench.types import ThreatModel


@contextmanager
def sealed(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` that takes its name, and the place of an earlier set, when the block ends well.

    All of it is on the disk before it is renamed, so that after a power cut too a set is whole or not there.
    """
    if folder.exists() and not (folder / NAME).is_file():
        raise UserError(
            f"expected {folder} to be free or an adversarial set, found something else; choose another folder"
        )
    # Listed before anybody is looked for: who comes later has names of his own.
    begun = list(make_folder(folder.parent).glob(f".{glob.escape(folder.name)}.????????.part"))
    for left in begun if abandoned(folder.parent) else []:
        shutil.rmtree(left, ignore_errors=True)
    # Names of their own, for a worker that was given up may still be writing the same set.
    aside, old = beside(folder, "part"), beside(folder, "old")
    try:
        with shared(folder.parent):
            yield make_folder(aside)
            sync_tree(aside)
            if folder.exists():
                folder.rename(old)
            aside.rename(folder)
        sync_folder(folder.parent)
    finally:
        for left in (aside, old):
            shutil.rmtree(left, ignore_errors=True)


@dataclass(frozen=True)
class AdversarialSet:
    """A verified set: every file is the one that the manifest names."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.threat.name

    @property
    def label(self) -> str:
        """The threat model's label, `none` for the control."""
        return self.manifest.label

    @property
    def source(self) -> str:
        """The source models joined by `+`, `none` for the control."""
        return self.manifest.source

    def aim_at(self, model: str) -> str:
        """Which figures of a model the attack went for, as rows say it."""
        sources = [source.name for source in self.manifest.sources]
        return "other" if sources and model not in sources else self.manifest.aim

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(self.manifest.counts)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels; images of a set are never resized."""
        return self.manifest.size

    def digest(self, category: str) -> str:
        """A hash of all that rows of a category depend on: its files, and how they were attacked."""
        files = {name: file.sha256 for name, file in self.manifest.files.items() if name.startswith(f"{category}/")}
        sources = [source.name for source in self.manifest.sources]
        text = json.dumps([self.name, self.label, self.manifest.aim, sources, files], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def load(self, category: str) -> Images:
        """The attacked images of a category with their masks and, as references, the normals; bit for bit as
        saved. UserError for an image that has left its ball, or was changed by more or less than the manifest says."""
        found = self._images(category)
        names = [companions(category, *one) for one in found]
        images, references = self._stack(paths[0] for paths in names), self._stack(paths[1] for paths in names)
        synthetic = [at for at, (defect, _) in enumerate(found) if defect == "synthetic"]
        originals = references.clone()
        if synthetic:
            originals[synthetic] = self._stack(names[at][2] for at in synthetic)
        self._measure([paths[0] for paths in names], images, originals)
        masks = [
            torch.from_numpy(self._read(paths[3], "L") > 127)
            if defect == "synthetic"
            else torch.zeros(self.size, dtype=torch.bool)
            for (defect, _), paths in zip(found, names, strict=True)
        ]
        return Images(
            images=images,
            masks=torch.stack(masks),
            categories=(category,) * len(found),
            defects=tuple(defect for defect, _ in found),
            ids=tuple(f"{category}/test/{defect}/{stem}" for defect, stem in found),
            references=references,
        )

    def originals(self, category: str) -> UInt8[Tensor, "n 3 h w"]:
        """The images before the attack, in the order of `load`."""
        return self._stack(
            companions(category, *one)[2 if one[0] == "synthetic" else 1] for one in self._images(category)
        )

    def _measure(
        self, names: Sequence[str], images: UInt8[Tensor, "n 3 h w"], originals: UInt8[Tensor, "n 3 h w"]
    ) -> None:
        """What the manifest claims of the attack, on the bytes."""
        threat = self.manifest.threat
        ball = ThreatModel(eps=threat.eps, norm=threat.norm, goal=threat.goal, where=threat.where)
        for name, saved, original in zip(names, images.numpy(), originals.numpy(), strict=True):
            change, said = largest_change(saved, original), self.manifest.files[name].change
            if change != said or not keeps(ball, saved, original):
                raise UserError(
                    f"{self.folder / name} differs by up to {change}/255 from the image before the attack, the "
                    f"manifest says {said}/255 within {threat.norm} {threat.eps}; build the set again"
                )

    def _images(self, category: str) -> list[tuple[str, str]]:
        if category not in self.categories:
            raise unknown(f"category of set {self.name}:", category, self.categories)
        return self.manifest.images(category)

    def _stack(self, names: Iterable[str]) -> UInt8[Tensor, "n 3 h w"]:
        with ThreadPoolExecutor(THREADS) as pool:
            return torch.from_numpy(np.stack(list(pool.map(lambda name: from_rows(self._read(name, "RGB")), names))))

    def _read(self, name: str, mode: str) -> NDArray[np.uint8]:
        return read_png(self.folder / name, mode, self.size)


def load_set(folder: Path) -> AdversarialSet:
    """Open a sealed set and verify it; UserError names the first file that is missing, foreign or changed."""
    manifest = read_manifest(folder)
    verify(folder, manifest)
    return AdversarialSet(folder, manifest)
