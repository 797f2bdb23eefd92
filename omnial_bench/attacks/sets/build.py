"""Adversarial sets: attacked, saved, measured on the saved bytes, and sealed, one folder a threat."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from omnial_bench.attacks.attacking import Looks, attack_images
from omnial_bench.attacks.checks import check_suite
from omnial_bench.attacks.levels import keeps, largest_change
from omnial_bench.attacks.sets.compose import Composed, compose
from omnial_bench.attacks.sets.manifest import (
    NAME,
    THREADS,
    Counts,
    File,
    Loss,
    Manifest,
    Source,
    companions,
    installed_versions,
)
from omnial_bench.attacks.sets.png import from_rows, read_png, to_rows, write_png
from omnial_bench.attacks.sets.sealed import AdversarialSet, load_set, sealed
from omnial_bench.attacks.threats import aim_of, label_of, step_size, threat_model
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.data.images import Images
from omnial_bench.errors import UserError
from omnial_bench.io.whole import make_folder, sha256, write_json
from omnial_bench.types import Detector

__all__ = ["AdversarialSet", "Composed", "Progress", "build_sets", "compose", "load_set"]

Progress = Callable[[str, int, int], None]
"""Called with the threat's name, the images done and the images in all."""


def build_sets(
    victim_models: Mapping[str, Detector],
    composed: Composed,
    suite: Suite,
    *,
    out: Path,
    seed: int,
    device: torch.device | str = "cpu",
    source_hashes: Mapping[str, str],
    dataset: str,
    data_fingerprint: str,
    batch: int = 8,
    progress: Progress | None = None,
    precision: torch.dtype | None = None,
) -> list[Path]:
    """Build and seal one set `out/<threat>` for each threat of a suite, from the mean loss over `victim_models`.

    The detectors are moved to `device`. Each set is written aside and renamed when it is whole; an earlier set of that
    name is replaced. A threat of eps 0 is the control: the same images, not attacked. Raises UserError for an unknown
    attack or objective, no models, maps of another size, a folder that cannot be written or is no set, and a saved file
    that exceeds eps.
    """
    check_suite(suite, as_sets=True)
    make_folder(out)
    models = [model.to(device) for model in victim_models.values()]
    images = composed.images
    looks = Looks(models, images, seed=seed, device=device, batch=batch, precision=precision)
    folders = [out / threat.name for threat in suite.threats]
    for threat, folder in zip(suite.threats, folders, strict=True):
        sources = [Source(name=name, sha256=source_hashes[name]) for name in victim_models] if threat.eps > 0 else []
        files: dict[str, File] = {}
        steps, weight, done = torch.zeros(threat.steps, dtype=torch.float64), 0, 0
        with sealed(folder) as aside, ThreadPoolExecutor(THREADS) as pool:
            save = partial(_save, aside, composed, threat)
            for part in attack_images(looks, composed, threat):
                for saved in pool.map(save, part.rows, part.images.numpy()):
                    files.update(saved)
                if part.losses:
                    steps += part.weight * torch.tensor(part.losses, dtype=torch.float64)
                    weight += part.weight
                done += len(part.rows)
                if progress is not None:
                    progress(threat.name, done, len(images))
            manifest = Manifest(
                suite=suite.name,
                threat=threat.model_copy(update={"step_size": step_size(threat)}),
                label=label_of(threat),
                aim=aim_of(threat),
                sources=tuple(sources),
                seed=seed,
                dataset=dataset,
                data_fingerprint=data_fingerprint,
                size=images.size,
                counts=_counts(images),
                loss=Loss(steps=tuple((steps / weight).tolist()) if weight else ()),
                largest_change=max((file.change or 0 for file in files.values()), default=0),
                versions=installed_versions(),
                files=files,
            )
            write_json(aside / NAME, manifest.model_dump(mode="json"))
    return folders


def _save(folder: Path, composed: Composed, threat: Threat, row: int, image: NDArray[np.uint8]) -> dict[str, File]:
    """Write one image with its companions, read it again, and measure what is in the file.

    In numpy, for it runs in threads, and torch would start threads of its own in each.
    """
    images = composed.images
    category, _, defect, stem = images.ids[row].split("/")
    original = images.images[row].numpy()
    clean = original if images.references is None else images.references[row].numpy()
    mask = images.masks[row].numpy().astype(np.uint8) * 255
    names = companions(category, defect, stem)
    for name, content in zip(names, (to_rows(image), to_rows(clean), to_rows(original), mask), strict=False):
        write_png(folder / name, content)
    saved = from_rows(read_png(folder / names[0], "RGB", images.size))
    change = largest_change(saved, original)
    if not keeps(threat_model(threat), saved, original):
        raise UserError(
            f"threat {threat.name}: expected {names[0]} within {threat.norm} {threat.eps} of its original, "
            f"the saved file changes by up to {change}/255; the attack does not keep its bound"
        )
    if threat.where == "foreground" and ((saved != original) & ~composed.objects[row].numpy()).any():
        raise UserError(f"threat {threat.name}: expected {names[0]} unchanged outside the foreground, the file differs")
    first, *others = names
    files = {name: File(sha256=sha256(folder / name), change=None) for name in others}
    return {first: File(sha256=sha256(folder / first), change=change), **files}


def _counts(images: Images) -> dict[str, Counts]:
    pairs = list(zip(images.categories, images.defects, strict=True))
    return {
        name: Counts(good=pairs.count((name, "good")), synthetic=pairs.count((name, "synthetic")))
        for name in dict.fromkeys(images.categories)
    }
