"""Models attacked on the real test split, in memory: what is scored are the bytes that a file would hold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.attacks.attacking import Looks, attack_images
from omnial_bench.attacks.sets.compose import Composed, generator_for
from omnial_bench.attacks.threats import aim_of, kind_of
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.data.images import Images
from omnial_bench.evaluation.attempt import BATCH, check_slopes, compose_test, crossed, examined, join_parts, saturated
from omnial_bench.evaluation.differences import Drawn
from omnial_bench.evaluation.examples import Example, Keeper
from omnial_bench.evaluation.scoring import BATCH as SCORED
from omnial_bench.evaluation.scoring import score_target
from omnial_bench.evaluation.tally import Tally
from omnial_bench.evaluation.target import Outcome, Target, labels_under
from omnial_bench.evaluation.worst import Seen, Worst, with_parts
from omnial_bench.metrics.metric import METRICS
from omnial_bench.progress import Progress
from omnial_bench.results import HEADLINE, Attempt, Result
from omnial_bench.runtime import placed
from omnial_bench.types import Prediction


def evaluate(
    source: Target,
    suite: Suite,
    images: Images,
    category: str,
    targets: Iterable[Target] = (),
    *,
    seed: int,
    device: torch.device | str = "cpu",
    precision: torch.dtype | None = None,
    limit: int | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Attack `source` with every threat of a suite on one category's test images, and score `targets` on the result.

    `targets` are other models that see the images, one at a time. At most `limit` images, or the suite's limit
    if that is smaller; the same ones for every model. Rows of the source have `source = self`, and come with those of
    the same images before any attack. With `out`, the images that the first threat harmed most and least are kept
    there.
    UserError for a threat that does not fit the model, and for an image that leaves its ball.
    """
    limits = [count for count in (limit, suite.limit) if count is not None]
    # The word is a part of the seed, and stays whatever the code calls them.
    chosen = spread(images, min(limits, default=None), generator_for(seed, "pictures", category))
    device = torch.device(device)
    model = placed(source.detector, device)
    outcome = Outcome()
    attacked: dict[str, Images] = {}

    @cache
    def subject(after: str | None, where: str) -> Composed:
        return compose_test(chosen if after is None else attacked[after], where, source.labels.dataset, category)

    @cache
    def looks(after: str | None) -> Looks:
        images = subject(after, "frame").images
        return Looks([model], images, seed=seed, device=device, batch=BATCH, precision=precision)

    for done, threat in enumerate(suite.threats):
        if progress is not None:
            progress(done, len(suite.threats), threat.name)
        begin = None if threat.start is None else attacked[threat.start].images
        composed = subject(threat.after, threat.where)
        threshold = source.alarms(category).threshold
        parts = list(attack_images(looks(threat.after), composed, threat, begin=begin, threshold=threshold))
        attacked[threat.name], attempt = join_parts(parts, composed.images, suite, threat, source.labels, category)
        outcome.attempts.append(attempt)
        outcome.rows.extend(crossed(threat, attempt, source.labels))
    if suite.slopes:
        check_slopes(outcome.attempts, model, suite, chosen, category, seed=seed, device=device)
    outcome.extend(_score_self(source, suite, chosen, attacked, category, outcome.attempts, device=device, out=out))
    for target in targets:
        for threat in suite.threats:
            labels = labels_under(target.labels, threat, source=source.name, aim="other")
            shown = attacked[threat.name]
            outcome.rows.extend(score_target(target, shown, labels, category, device=device, normals_only=True))
    if progress is not None:
        progress(len(suite.threats), len(suite.threats), category)
    return outcome


def spread(images: Images, limit: int | None, generator: torch.Generator) -> Images:
    """At most `limit` images in their order, taken in turn from every defect and the normal ones, of each condition of
    the data set; drawn by chance within each."""
    if limit is None or limit >= len(images):
        return images
    order = torch.randperm(len(images), generator=generator).tolist()
    kinds = list(zip(images.defects, images.conditions or images.defects, strict=True))
    groups = [[index for index in order if kinds[index] == kind] for kind in sorted(set(kinds))]
    turns = [group[turn] for turn in range(len(images)) for group in groups if turn < len(group)]
    return images.select(sorted(turns[:limit]))


def _score_self(
    source: Target,
    suite: Suite,
    originals: Images,
    attacked: Mapping[str, Images],
    category: str,
    attempts: list[Attempt],
    *,
    device: torch.device,
    out: Path | None,
) -> Outcome:
    """The source's own rows: before the attack, under each threat, and under the worst of them. Of the attempts, that
    which is held against more than its rows is told what the maps show."""
    alike = {name: _alike(originals, images) for name, images in attacked.items()}
    outcome, before = Outcome(), Seen(frozenset().union(*alike.values()))
    control = replace(source.labels, set=suite.control)
    outcome.rows.extend(score_target(source, originals, control, category, device=device, viewer=before))
    anomalous = torch.tensor([defect != "good" for defect in originals.defects])
    worst = Worst(before.maps, before.scores, originals.masks, anomalous)
    views: dict[str, Seen] = {}
    rows: dict[str, list[Result]] = {}
    compared, drawn = _compared(suite), dict[str, list[Drawn]]()

    def look(threat: Threat, images: Images, known: Mapping[int, Prediction]) -> None:
        labels = labels_under(source.labels, threat, source="self", aim=aim_of(threat))
        seen, drawn[threat.name] = Seen(), list[Drawn]()
        # The maps of what aims at nothing are compared with none, and of all its kinds they would fill the memory.
        if suite.worst or kind_of(threat).aims or threat is suite.threats[0]:
            views[threat.name] = seen
        rows[threat.name] = score_target(
            source, images, labels, category, device=device, viewer=seen, normals_only=True, known=known,
            drawn=drawn[threat.name], compared=compared.get(threat.name, ()),
        )  # fmt: skip

    for threat in suite.threats:
        look(threat, attacked[threat.name], {start: before.predictions[start] for start in alike[threat.name]})
    if (at := examined(attempts, suite)) is not None:
        share = saturated(before.maps, views[attempts[at].set].maps, originals.masks)
        attempts[at] = replace(attempts[at], saturated=share)
    # Only now, for a part may stand behind the whole, and the whole is to be told from what each part did alone.
    wholes = dict(attacked)
    for threat in suite.threats if suite.composed else ():
        wholes[threat.name] = with_parts(threat, suite.threats, attacked, views, anomalous)
    for index, threat in enumerate(suite.threats):
        if (images := wholes[threat.name]) is not attacked[threat.name]:
            look(threat, images, {})
        outcome.rows.extend(rows[threat.name])
        outcome.drawn.extend(drawn[threat.name])
        if suite.worst or index == 0:
            harms = worst.update(views[threat.name].maps, views[threat.name].scores)
        if index == 0 and out is not None and suite.against == "self" and not kind_of(threat).moves:
            outcome.examples.extend(_extremes(source, threat, images, harms, device=device, out=out))
    if suite.worst:
        aims = sorted({kind for threat in suite.threats for kind in aim_of(threat).split("+")} - {"none"})
        labels = replace(
            source.labels, set=suite.worst_name, threat=f"worst of {len(suite.threats)}", source="self",
            aim="+".join(aims) or "none",
        )  # fmt: skip
        tally = Tally(maps_only=True, metrics=source.metrics, alarms=source.alarms(category))
        tally.add(worst.maps(), originals.masks, worst.scores, anomalous)
        outcome.rows.extend(tally.rows(labels, category))
    return outcome


def _compared(suite: Suite) -> dict[str, tuple[str, ...]]:
    """The headline metrics that the models of a suite are compared by, by the name of a threat: each under the first
    that does any harm in the whole frame, claims a bound, and is after this metric."""
    compared: dict[str, tuple[str, ...]] = {}
    for threat in suite.threats if suite.composed and suite.against == "self" else ():
        if (threat.goal, threat.where) == ("any", "frame") and kind_of(threat).spec.bound:
            aims, taken = aim_of(threat).split("+"), [metric for metrics in compared.values() for metric in metrics]
            compared[threat.name] = tuple(
                metric for metric in HEADLINE if METRICS[metric].kind in aims and metric not in taken
            )
    return compared


def _alike(images: Images, other: Images) -> frozenset[int]:
    """Where the scoring's batches begin in which not one byte differs: those that a goal leaves alone are among them.

    Batches and not images, for in a batch of another size sums may be taken in another order.
    """
    starts = range(0, len(images), SCORED)
    return frozenset(
        at for at in starts if torch.equal(images.images[at : at + SCORED], other.images[at : at + SCORED])
    )


def _extremes(
    source: Target, threat: Threat, images: Images, harms: Float[Tensor, " n"], *, device: torch.device, out: Path
) -> Sequence[Example]:
    """The images of the category that the threat harmed most and least."""
    order = harms.argsort(stable=True).tolist()
    ends = {order[-1]: "strongest"} | ({order[0]: "weakest"} if len(order) > 1 else {})
    shown, before = images.select(list(ends)), images.references
    assert before is not None
    keeper = Keeper(
        out, model=source.model, name=threat.name, wanted=shown.ids,
        originals={images.ids[index]: before[index] for index in ends},
        notes={images.ids[index]: note for index, note in ends.items()},
    )  # fmt: skip
    with torch.inference_mode():
        part = replace(shown, references=None).batch(range(len(shown)), device)
        keeper(part, source.detector(part.images))
    return keeper.examples
