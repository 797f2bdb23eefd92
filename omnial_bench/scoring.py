"""A detector on pictures -> one number a row."""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch

from omnial_bench.attacks.sets import AdversarialSet
from omnial_bench.checkpoint import Trained
from omnial_bench.data.pictures import Pictures
from omnial_bench.device import placed
from omnial_bench.metrics.quality import psnr, ssim
from omnial_bench.metrics.ranking import Ranking
from omnial_bench.metrics.regions import Regions
from omnial_bench.nouns import Batch, Detector, Prediction
from omnial_bench.store import Result

log = logging.getLogger(__name__)

Viewer = Callable[[Batch, Prediction], None]
"""Called with every batch and what the detector said of it."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The columns of a row that say what was scored on what."""

    detector: str
    paradigm: str
    preset: str
    dataset: str
    seed: int
    run: str
    set: str = "clean"
    threat: str = "none"
    source: str = "none"


def labels_of(trained: Trained, run: str, adversarial: AdversarialSet | None = None) -> Labels:
    """The labels of a trained model on the clean test split, or on an adversarial set."""
    made = trained.provenance
    where = {"set": adversarial.name, "threat": adversarial.label, "source": adversarial.source} if adversarial else {}
    return Labels(
        detector=made.detector, paradigm=made.paradigm, preset=trained.recipe.preset, dataset=made.dataset,
        seed=made.seed, run=run, **where,
    )  # fmt: skip


def score(
    detector: Detector,
    pictures: Pictures,
    labels: Labels,
    category: str,
    *,
    device: torch.device | str = "cpu",
    batch: int = 16,
    viewer: Viewer | None = None,
) -> list[Result]:
    """All metrics of one category's pictures, computed in float32.

    PSNR and SSIM compare the reconstruction with the clean normal picture: the reference where a set has one, else the
    picture itself, and then over normal pictures only. An undefined figure is None and its reason is logged.
    """
    device = torch.device(device)
    images, regions = Ranking(), Regions()
    qualities: dict[str, list[torch.Tensor]] = {"psnr": [], "ssim": []}
    detector = placed(detector, device)
    with torch.inference_mode():
        for part in pictures.batches(batch, device):
            prediction = detector(part.images.contiguous(memory_format=torch.channels_last))
            regions.update(prediction.score_map, part.masks)
            images.update(prediction.image_score, part.anomalous.to(device))
            _measure(qualities, part, prediction)
            if viewer is not None:
                viewer(part, prediction)
    pixel, image = regions.ranking.compute(), images.compute()
    values: dict[str, tuple[float | None, int]] = {
        "image_auroc": (image.auroc, len(pictures)),
        "image_ap": (image.ap, len(pictures)),
        "image_ap_chance": (image.prevalence, len(pictures)),
        "image_f1max": (image.f1max, len(pictures)),
        "pixel_auroc": (pixel.auroc, len(pictures)),
        "pixel_ap": (pixel.ap, len(pictures)),
        "pixel_ap_chance": (pixel.prevalence, len(pictures)),
        "pixel_f1max": (pixel.f1max, len(pictures)),
        "pixel_aupro": (regions.compute(), len(pictures)),
    }
    for name, found in qualities.items():
        every = torch.cat(found).double() if found else torch.empty(0)
        values[name] = (float(every.mean()) if len(every) else None, len(every))
    rows = []
    for metric, (value, n) in values.items():
        if value is None or not math.isfinite(value):
            log.warning(
                "%s of %s on %s/%s is undefined (%s)", metric, labels.detector, labels.set, category, _reason(metric)
            )
            value = None
        rows.append(
            Result(
                detector=labels.detector, paradigm=labels.paradigm, preset=labels.preset, dataset=labels.dataset,
                category=category, set=labels.set, threat=labels.threat, source=labels.source, metric=metric,
                value=value, n=n, seed=labels.seed, run=labels.run,
            )
        )  # fmt: skip
    return rows


def _measure(qualities: dict[str, list[torch.Tensor]], part: Batch, prediction: Prediction) -> None:
    if prediction.reconstruction is None:
        return
    reconstruction = prediction.reconstruction.clamp(0, 1)
    references = part.references
    if references is None:
        normal = ~part.anomalous.to(reconstruction.device)
        reconstruction, references = reconstruction[normal], part.images[normal]
    if len(references):
        qualities["psnr"].append(psnr(reconstruction, references).cpu())
        qualities["ssim"].append(ssim(reconstruction, references).cpu())


def _reason(metric: str) -> str:
    if metric in ("psnr", "ssim"):
        return "no normal picture or no reconstruction"
    return "needs normal and anomalous ones" if metric.endswith("auroc") else "no anomalous one"


def with_means(rows: Iterable[Result]) -> list[Result]:
    """The rows, and after them the unweighted class means: `category = mean`, over the categories where a figure is defined."""
    rows = list(rows)
    groups: dict[tuple[object, ...], list[Result]] = {}
    for row in rows:
        key = (row.detector, row.paradigm, row.preset, row.dataset, row.set, row.source, row.metric, row.seed)
        groups.setdefault(key, []).append(row)
    for members in groups.values():
        values = [row.value for row in members if row.value is not None]
        mean = math.fsum(values) / len(values) if values else None
        count = sum(row.n for row in members if row.value is not None)
        rows.append(replace(members[0], category="mean", value=mean, n=count))
    return rows
