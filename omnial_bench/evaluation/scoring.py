"""A detector on images -> rows: a category of the clean test split, a set or attacked images, each condition apart."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from omnial_bench.attacks.sets.sealed import AdversarialSet
from omnial_bench.data.images import Images
from omnial_bench.evaluation.differences import Drawn
from omnial_bench.evaluation.examples import Keeper, choose
from omnial_bench.evaluation.tally import Tally
from omnial_bench.evaluation.target import Labels, Outcome, Target, labels_on
from omnial_bench.metrics.accumulator import Metrics
from omnial_bench.metrics.alarms import Alarms
from omnial_bench.results import HEADLINE, Result
from omnial_bench.runtime import placed
from omnial_bench.types import Batch, Detector, Prediction

BATCH = 16
"""Images scored at once."""
Viewer = Callable[[Batch, Prediction], None]
"""Called with every batch and what the detector said of it."""


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


def score_target(
    target: Target,
    images: Images,
    labels: Labels,
    category: str,
    *,
    viewer: Viewer | None = None,
    **settings: Any,
) -> list[Result]:
    """`score` of a target, with its own metrics and thresholds; after the rows of all images those of each condition
    that the data set names."""
    apart = _Apart(images, target, category)

    def look(part: Batch, prediction: Prediction) -> None:
        apart(part, prediction)
        if viewer is not None:
            viewer(part, prediction)

    own: dict[str, Any] = {"metrics": target.metrics, "alarms": target.alarms(category)}
    rows = score(target.detector, images, labels, category, viewer=look, **own, **settings)
    return rows + apart.rows(labels, category)


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
    rows = score_target(target, images, labels, category, device=device, viewer=keeper, drawn=drawn)
    outcome.rows.extend(rows)
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
        """Rows of the sets `<set>/<condition>`."""
        named = ((replace(labels, set=f"{labels.set}/{name}"), tally) for name, tally in self.tallies.items())
        return [row for condition, tally in named for row in tally.rows(condition, category)]
