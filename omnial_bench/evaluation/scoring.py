"""A detector on images -> one number a row."""

import hashlib
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.attacks.sets.sealed import AdversarialSet
from omnial_bench.data.images import Images
from omnial_bench.errors import UserError
from omnial_bench.evaluation.differences import Drawn, hash_of, text_of
from omnial_bench.evaluation.examples import Keeper, choose
from omnial_bench.evaluation.outcome import Outcome
from omnial_bench.evaluation.target import DIGITS, Labels, Target, labels_on
from omnial_bench.metrics.accumulator import Gathering, Metrics
from omnial_bench.metrics.alarms import Alarms
from omnial_bench.metrics.intervals import Intervals, ends_of
from omnial_bench.metrics.metric import METRICS, kind_of
from omnial_bench.metrics.quality import psnr, ssim
from omnial_bench.metrics.ranking import Ranking, RankingScores
from omnial_bench.metrics.regions import Regions
from omnial_bench.results import HEADLINE, Result
from omnial_bench.runtime import placed
from omnial_bench.types import Batch, Detector, Prediction, located

log = logging.getLogger(__name__)

BATCH = 16
"""Images scored at once."""
Viewer = Callable[[Batch, Prediction], None]
"""Called with every batch and what the detector said of it."""


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
        self.images, self.regions, self.normals_only = Ranking(), Regions(), normals_only
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
        """One row a metric; an undefined one has no value and its reason is logged."""
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
            known = value if _defined(value) else None
            low, high = (None, None) if known is None else _ends(known, ends.get(metric), metric)
            rows.append(Result(**columns, metric=metric, value=known, n=counts[metric], low=low, high=high))
        if not self.reconstructs:
            _without_reconstruction(labels.detector)
            values = {name: value for name, value in values.items() if name not in self.qualities}
        if shares["image_false_alarms_held"].value is None:
            _without_threshold(labels.detector)
            values = {name: value for name, value in values.items() if name not in shares}
        if undefined := [name for name, value in own.items() if value is None]:
            log.warning("%s on %s, %s: %s undefined", labels.detector, labels.set, category, ", ".join(undefined))
        values = {name: value for name, value in values.items() if name not in own}
        for reason, metrics in _undefined(values, self.count - self.located).items():
            log.warning("%s on %s, %s: %s undefined, %s", labels.detector, labels.set, category, metrics, reason)
        return rows

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


def score(
    detector: Detector,
    images: Images,
    labels: Labels,
    category: str,
    *,
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    viewer: Viewer | None = None,
    normals_only: bool = False,
    known: Mapping[int, Prediction] = MappingProxyType({}),
    drawn: list[Drawn] | None = None,
    compared: Collection[str] = HEADLINE,
    metrics: Metrics = (),
    alarms: Alarms | None = None,
) -> list[Result]:
    """All metrics of one category's images, computed in float32, those at the threshold of `alarms`, and those from
    elsewhere.

    PSNR and SSIM compare the reconstruction with the clean normal image: the reference where a set has one, else the
    image itself, and then over normal images only; with `normals_only` in either case. `known` is what the detector
    has said of batches already, by the place of their first image: these do not pass it again. To `drawn` is added
    what compares the model with others by the `compared` metrics. An undefined figure is None and its reason is logged.
    """
    tally, device = Tally(normals_only=normals_only, metrics=metrics, alarms=alarms), torch.device(device)
    detector = placed(detector, device)
    with torch.inference_mode():
        for start, part in zip(range(0, len(images), batch), images.batches(batch, device), strict=True):
            prediction = known.get(start)
            if prediction is None:
                prediction = detector(part.images.contiguous(memory_format=torch.channels_last))
            tally.update(part, prediction)
            if viewer is not None:
                viewer(part, prediction)
    rows = tally.rows(labels, category)
    if drawn is not None:
        drawn += tally.drawn(rows, compared)
    return rows


def score_category(
    target: Target,
    images: Images,
    category: str,
    *,
    adversarial: AdversarialSet | None = None,
    device: torch.device | str = "cpu",
    out: Path | None = None,
) -> Outcome:
    """Rows of a model on a category of the clean test split, or of an adversarial set, whose `images` these are.

    With `out`, a few images are kept there for the report. On the clean split also what compares it with other models.
    """
    labels, outcome, keeper = labels_on(target.labels, adversarial, target.model), Outcome(), None
    if out is not None:
        chosen = choose(images)
        wanted = [images.ids[index] for index in chosen]
        originals = dict(zip(wanted, adversarial.originals(category)[chosen], strict=True)) if adversarial else {}
        keeper = Keeper(out, model=target.model, name=labels.set, wanted=wanted, originals=originals)
    drawn = outcome.drawn if adversarial is None else None
    apart = _Apart(images, target, category)

    def look(part: Batch, prediction: Prediction) -> None:
        apart(part, prediction)
        if keeper is not None:
            keeper(part, prediction)

    outcome.rows.extend(
        score(
            target.detector, images, labels, category, device=device, viewer=look, drawn=drawn, metrics=target.metrics,
            alarms=target.alarms(category),
        )
    )  # fmt: skip
    outcome.rows.extend(apart.rows(labels, category))
    outcome.examples.extend(keeper.examples if keeper else ())
    return outcome


class _Apart:
    """A scoring's viewer that counts each condition of a data set for itself, the images that all share in each."""

    def __init__(self, images: Images, target: Target, category: str) -> None:
        self.tallies = {
            name: Tally(maps_only=True, metrics=target.metrics, alarms=target.alarms(category))
            for name in sorted({*images.conditions} - {""})
        }
        self.conditions = dict(zip(images.ids, images.conditions, strict=False))

    def __call__(self, part: Batch, prediction: Prediction) -> None:
        for name, tally in self.tallies.items():
            belongs = [
                self.conditions[image] in ((name, "") if defect == "good" else (name,))
                for image, defect in zip(part.ids, part.defects, strict=True)
            ]
            if any(belongs):
                chosen = torch.tensor(belongs, device=prediction.logits.device)
                maps, scores = prediction.score_map[chosen], prediction.image_score[chosen]
                tally.add(maps, part.masks[chosen], scores, part.anomalous[chosen.cpu()])

    def rows(self, labels: Labels, category: str) -> list[Result]:
        """Rows of the set `clean/<condition>`."""
        named = ((replace(labels, set=f"{labels.set}/{name}"), tally) for name, tally in self.tallies.items())
        return [row for condition, tally in named for row in tally.rows(condition, category)]


@cache
def _without_reconstruction(detector: str) -> None:
    """Said once a process, for it is so on every set."""
    log.warning("%s gives no reconstruction: psnr and ssim are undefined on all sets", detector)


@cache
def _without_threshold(detector: str) -> None:
    log.warning(
        "%s has no threshold, for no scores of held-out normal images: missed defects and false alarms are undefined",
        detector,
    )


def _figures(what: str, scores: RankingScores) -> dict[str, float | None]:
    """The figures of a ranking by metric; chance is the prevalence, and undefined where what it is compared with is."""
    chance = None if scores.ap is None else scores.prevalence
    figures = {"auroc": scores.auroc, "ap": scores.ap, "ap_chance": chance, "f1max": scores.f1max}
    return {f"{what}_{name}": value for name, value in figures.items()}


def _ends(value: float, offsets: tuple[float, float] | None, metric: str) -> tuple[float | None, float | None]:
    """The ends of a figure's interval, within the range of its metric."""
    return (None, None) if offsets is None else _within(value + offsets[0], value + offsets[1], metric)


def _within(low: float, high: float, metric: str) -> tuple[float, float]:
    return max(METRICS[metric].low, low), min(METRICS[metric].high, high)


def _defined(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


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


def with_means(rows: Iterable[Result]) -> list[Result]:
    """The rows, and after them the unweighted class means, `category = mean`.

    A mean is over the categories where the figure is defined, and undefined where it is so in none; `n` counts their
    images, and the weights are those of all models together.
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
        low, high = _ends_of_mean(members, mean)
        # A separate model may be the source of one category's images and see another's for the first time.
        aims = {row.aim for row in members}
        aim = members[0].aim if len(aims) == 1 else "other"
        rows.append(
            replace(
                members[0], category="mean", value=mean, n=count, aim=aim, weights=_together(members), low=low,
                high=high,
            )
        )  # fmt: skip
    return rows


def _ends_of_mean(members: Iterable[Result], mean: float | None) -> tuple[float | None, float | None]:
    """The interval of a class mean, whose classes' images are independent: distances to the ends add as squares."""
    known = [row for row in members if row.value is not None]
    if mean is None or any(row.low is None or row.high is None for row in known):
        return None, None
    below, above = (
        math.hypot(*(getattr(row, end) - row.value for row in known)) / len(known) for end in ("low", "high")
    )
    return _within(mean - below, mean + above, known[0].metric)


def _together(members: Iterable[Result]) -> str:
    """One hash for the weights behind several rows, which may be those of one model."""
    hashes = list(dict.fromkeys(row.weights for row in members))
    if len(hashes) == 1:
        return hashes[0]
    return "" if "" in hashes else hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()[:DIGITS]
