"""What a detector says of images, counted batch by batch -> one row a metric."""

import logging
import math
from collections.abc import Collection, Iterable, Mapping
from functools import cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.errors import UserError
from omnial_bench.evaluation.differences import Drawn, hash_of, text_of
from omnial_bench.evaluation.target import Labels
from omnial_bench.metrics.accumulator import Gathering, Metrics
from omnial_bench.metrics.alarms import NAMES, Alarms
from omnial_bench.metrics.image_ranking import ImageRanking
from omnial_bench.metrics.intervals import Intervals, ends_of
from omnial_bench.metrics.metric import METRICS, kind_of
from omnial_bench.metrics.quality import psnr, ssim
from omnial_bench.metrics.ranking import RankingScores
from omnial_bench.metrics.regions import Regions
from omnial_bench.results import Result
from omnial_bench.types import Batch, Prediction, located

log = logging.getLogger(__name__)


class Tally:
    """What a detector says of images of one category, batch by batch, and the rows of it."""

    def __init__(
        self,
        *,
        normals_only: bool = False,
        maps_only: bool = False,
        metrics: Metrics = (),
        alarms: Alarms | None = None,
    ) -> None:
        """`normals_only`: reconstructions are held against references in normal images alone, for only there is the
        reference a normal image. `maps_only`: they are not looked at. `metrics` from elsewhere come after all others.
        `alarms` counts at a threshold; None: there is none.
        """
        self.images, self.regions, self.normals_only = ImageRanking(), Regions(), normals_only
        self.count, self.located = 0, 0
        """All images, and those of whose pixels it is known which are anomalous."""
        self.intervals, self.outside = Intervals(), Gathering(metrics)
        self.alarms = alarms or Alarms()
        self.ids: list[str] = []
        self.draws: Mapping[str, Tensor] = {}
        """Of the figures of the rows, once these are made."""
        self.qualities: dict[str, list[Tensor]] = {} if maps_only else {"psnr": [], "ssim": []}
        self.reconstructs = maps_only

    def update(self, part: Batch, prediction: Prediction) -> None:
        """UserError where the map has another size than the images, or holds values that are no numbers."""
        maps, scores = prediction.score_map, prediction.image_score
        if maps.shape[-2:] != part.images.shape[-2:]:
            want, got = tuple(part.images.shape[-2:]), tuple(maps.shape[-2:])
            raise UserError(f"expected maps as large as the images, {want}, got {got}; resize them in the detector")
        if not (torch.isfinite(maps).all() and torch.isfinite(scores).all()):
            raise UserError("expected finite anomaly maps and scores, got NaN or infinity; mend the detector")
        self.add(maps, part.masks, scores, part.anomalous)
        self.ids += part.ids
        if prediction.reconstruction is not None:
            self.reconstructs = True
            self._measure(part, prediction.reconstruction.clamp(0, 1))

    def add(
        self,
        maps: Float[Tensor, "b h w"],
        masks: Bool[Tensor, "b h w"],
        scores: Float[Tensor, " b"],
        anomalous: Bool[Tensor, " b"],
    ) -> None:
        """Take maps and image scores alone."""
        known = located(masks, anomalous)
        if known.any():
            self.regions.update(maps[known.to(maps.device)], masks[known])
        self.images.update(scores, anomalous.to(scores.device))
        self.alarms.update(scores, anomalous)
        self.intervals.update(maps, masks, scores, anomalous)
        self.outside.update(maps, masks, scores, anomalous)
        self.count, self.located = self.count + len(scores), self.located + int(known.sum())

    def _measure(self, part: Batch, reconstruction: Float[Tensor, "b 3 h w"]) -> None:
        references = part.images if part.references is None else part.references
        if part.references is None or self.normals_only:
            normal = ~part.anomalous.to(reconstruction.device)
            reconstruction, references = reconstruction[normal], references[normal]
        if len(references):
            self.qualities["psnr"].append(psnr(reconstruction, references).cpu())
            self.qualities["ssim"].append(ssim(reconstruction, references).cpu())

    def rows(self, labels: Labels, category: str) -> list[Result]:
        """One row a metric; an undefined one has no value, and its reason is logged once a category."""
        values = _figures("image", self.images.compute()) | _figures("pixel", self.regions.ranking.compute())
        values["pixel_aupro"] = self.regions.compute()
        counts = {name: self._behind(name) for name in values}
        for name, parts in self.qualities.items():
            every = torch.cat(parts).double() if parts else torch.empty(0)
            values[name], counts[name] = (float(every.mean()) if len(every) else None), len(every)
        own, shares = self.outside.compute(), self.alarms.compute()
        values |= {name: share.value for name, share in shares.items()} | own
        counts |= {name: share.n for name, share in shares.items()} | {name: self._behind(name) for name in own}
        columns = vars(labels) | {"category": category}
        self.draws, rows = self.intervals.draws(), []
        ends = {metric: ends_of(draws) for metric, draws in self.draws.items()}
        ends |= {name: share.offsets for name, share in shares.items() if share.offsets}
        for metric, value in values.items():
            known = value if value is not None and math.isfinite(value) else None
            low = high = None
            if known is not None and (offsets := ends.get(metric)) is not None:
                low, high = METRICS[metric].within(known + offsets[0], known + offsets[1])
            rows.append(Result(**columns, metric=metric, value=known, n=counts[metric], low=low, high=high))
        self._tell(values, own, labels.detector, category)
        return rows

    def _tell(self, values: dict[str, float | None], own: Collection[str], detector: str, category: str) -> None:
        """Logs what is undefined and why; of a metric from elsewhere, `own`, the why is not known."""
        explained = set(own)
        if not self.reconstructs:
            _say(f"{detector} gives no reconstruction: psnr and ssim are undefined on all sets")
            explained |= set(self.qualities)
        if values["image_false_alarms_held"] is None:
            _say(
                f"{detector} has no threshold, for no scores of held-out normal images: "
                "missed defects and false alarms are undefined"
            )
            explained |= set(NAMES)
        if undefined := [name for name in own if values[name] is None]:
            _say(f"{detector} on {category}: {', '.join(undefined)} undefined")
        rest = {name: value for name, value in values.items() if name not in explained}
        for reason, metrics in _undefined(rest, self.count - self.located).items():
            _say(f"{detector} on {category}: {metrics} undefined, {reason}")

    def _behind(self, metric: str) -> int:
        return self.located if metric in self.outside.pixel or kind_of(metric) == "pixel" else self.count

    def drawn(self, rows: Iterable[Result], metrics: Collection[str]) -> list[Drawn]:
        """What compares this model with others by these metrics, of the rows that were made last."""
        return [
            Drawn(
                detector=row.detector, paradigm=row.paradigm, preset=row.preset, dataset=row.dataset,
                category=row.category, set=row.set, source=row.source, metric=row.metric, value=row.value, n=row.n,
                seed=row.seed, images=hash_of(self.ids),
                deviations=text_of(self.draws[row.metric]) if row.metric in self.draws else "",
            )
            for row in rows
            if row.metric in metrics and row.value is not None
        ]  # fmt: skip


@cache
def _say(line: str) -> None:
    """Once, for what is so on one set is so on all."""
    log.warning("%s", line)


def say_anew() -> None:
    """Lets what has been said be said once more: in a notebook, of the next detector."""
    _say.cache_clear()


def _figures(what: str, scores: RankingScores) -> dict[str, float | None]:
    """The figures of a ranking by metric; chance is the prevalence, and undefined where what it is compared with is."""
    chance = None if scores.ap is None else scores.prevalence
    figures = {"auroc": scores.auroc, "ap": scores.ap, "ap_chance": chance, "f1max": scores.f1max}
    return {f"{what}_{name}": value for name, value in figures.items()}


def _undefined(values: dict[str, float | None], unmarked: int) -> dict[str, str]:
    """The metrics that have no figure, by the reason; `unmarked` anomalous images have no mask, or an empty one."""
    reasons: dict[str, list[str]] = {}
    for metric, value in values.items():
        if value is not None and not math.isfinite(value):
            reasons.setdefault("an image is reconstructed without any error", []).append(metric)
        elif value is None and kind_of(metric) == "reconstruction":
            reasons.setdefault("no normal image", []).append(metric)
        elif value is None and unmarked and kind_of(metric) == "pixel":
            reasons.setdefault(f"the {unmarked} anomalous images have no mask that marks a pixel", []).append(metric)
        elif value is None:
            reasons.setdefault("it needs both normal and anomalous ones", []).append(metric)
    return {reason: ", ".join(metrics) for reason, metrics in reasons.items()}
