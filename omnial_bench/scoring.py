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
from omnial_bench.metrics.ranking import Ranking, RankingScores
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
    values = _figures("image", images.compute()) | _figures("pixel", regions.ranking.compute())
    values["pixel_aupro"] = regions.compute()
    counts = dict.fromkeys(values, len(pictures))
    for name, found in qualities.items():
        every = torch.cat(found).double() if found else torch.empty(0)
        values[name], counts[name] = (float(every.mean()) if len(every) else None), len(every)
    columns = vars(labels) | {"category": category}
    rows = [
        Result(**columns, metric=metric, value=value if _defined(value) else None, n=counts[metric])
        for metric, value in values.items()
    ]
    for reason, metrics in _undefined(values).items():
        log.warning("%s on %s, %s: %s undefined, %s", labels.detector, labels.set, category, metrics, reason)
    return rows


def _figures(what: str, scores: RankingScores) -> dict[str, float | None]:
    """The figures of a ranking by metric; chance is the prevalence, and undefined where what it is compared with is."""
    chance = None if scores.ap is None else scores.prevalence
    figures = {"auroc": scores.auroc, "ap": scores.ap, "ap_chance": chance, "f1max": scores.f1max}
    return {f"{what}_{name}": value for name, value in figures.items()}


def _measure(qualities: dict[str, list[torch.Tensor]], part: Batch, prediction: Prediction) -> None:
    if prediction.reconstruction is None:
        return
    reconstruction, references = prediction.reconstruction.clamp(0, 1), part.references
    if references is None:
        normal = ~part.anomalous.to(reconstruction.device)
        reconstruction, references = reconstruction[normal], part.images[normal]
    if len(references):
        qualities["psnr"].append(psnr(reconstruction, references).cpu())
        qualities["ssim"].append(ssim(reconstruction, references).cpu())


def _defined(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _undefined(values: dict[str, float | None]) -> dict[str, str]:
    """The metrics that have no figure, by the reason."""
    reasons: dict[str, list[str]] = {}
    for metric, value in values.items():
        if value is not None and not math.isfinite(value):
            reasons.setdefault("a picture is reconstructed without any error", []).append(metric)
        elif value is None and metric in ("psnr", "ssim"):
            reasons.setdefault("no normal picture or no reconstruction", []).append(metric)
        elif value is None:
            reasons.setdefault("it needs both normal and anomalous ones", []).append(metric)
    return {reason: ", ".join(metrics) for reason, metrics in reasons.items()}


def with_means(rows: Iterable[Result]) -> list[Result]:
    """The rows, and after them the unweighted class means, `category = mean`.

    A mean is over the categories where the figure is defined, and undefined where it is so in none; `n` counts their
    images.
    """
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
