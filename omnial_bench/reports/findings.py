"""Sentences that rows lead to by rule: what was found, and what these figures cannot say. No torch here."""

import math
from itertools import combinations, product

from omnial_bench.metrics.metric import METRICS
from omnial_bench.reports.conditions import Condition, Model, joined
from omnial_bench.reports.table import MINUS
from omnial_bench.reports.values import MEAN, Values
from omnial_bench.reports.wording import doubt_words, moved_words, names_of, percent

REPAIRED = 0.5
"""A reconstruction of normal images whose SSIM is below this shows little of them."""
LEARNED = 0.75
"""A pixel AUROC on the clean test below this is said to localise little."""


def findings(values: Values) -> list[str]:
    """What the rows say, a sentence or two a finding, in the order of importance."""
    sentences = [_below_threshold(values), _unlike(values), best_clean(values), _largest_drop(values)]
    return list(filter(None, (*sentences, *_eps_on_sources(values), _gains(values), _undefined(values))))


def limits(values: Values) -> list[str]:
    """What the figures do not say."""
    many, total = len(values.categories), values.total(values.clean) if values.clean else 0
    where = f"{many} categories" if many != 1 else "one category"
    sentences = {
        "The sets are made from the training normals of the detectors with synthetic anomalies; only their change from "
        "the control, the same images before the attack, tells of the attack. The step from the clean test to the "
        "control changes the images and the anomalies.": bool(values.sets),
        "White-box figures attack each model itself with the stated budget; a longer attack may go lower.": any(
            condition.white_box for condition in values.conditions
        ),
        f"One seed ({values.seeds[0]}): how far the figures would spread over trainings was not measured, and "
        "differences of a few points may be noise.": len(values.seeds) == 1,
        "How far the figures would move over other images was not measured: the rows hold no intervals.": (
            not values.intervals
        ),
        f"The clean test has {total} images in {where}: a small sample.": bool(values.clean) and total < 500,
    }
    return [*_origins(values), *(sentence for sentence, holds in sentences.items() if holds)]


def _origins(values: Values) -> list[str]:
    """For whom the fixed sets are transfer, and for whom they were made on the very model that is scored."""
    groups: dict[str, list[Condition]] = {}
    for condition in values.sets:
        groups.setdefault(condition.source, []).append(condition)
    sentences = []
    for conditions in groups.values():
        name = "The sets" if len(groups) == 1 else f"{', '.join(item.set for item in conditions)}: the sets"
        sources = conditions[0].sources
        outside, inside = _parts(values, conditions[0])
        if outside:
            source = values.titles.of_sources(sources)
            sentences.append(
                f"{name} are fixed and measure transfer from their stated source ({source}). They are no white-box "
                f"figure: {joined(outside)} had no part in making them."
            )
        if inside and len(sources) > 1:
            sentences.append(
                f"{name} were made on {joined(inside)} too, but by an attack on the mean loss of {len(sources)} "
                "models, which is weaker than an attack on one alone: the white-box figure of each should be lower."
            )
        elif inside:
            there = "there they are white-box and no transfer; a longer attack may go lower."
            sentences.append(f"{name} were made on {joined(inside)}: {there}")
    return sentences


def _parts(values: Values, condition: Condition) -> tuple[list[str], list[str]]:
    """The models that had no part in making a set, and those that were attacked for it, with the categories where it
    is not all of them."""
    outside: list[str] = []
    inside: list[str] = []
    for model in values.models:
        mine, every = values.part(model, condition), values.scored(model, condition)
        rest = tuple(name for name in every if name not in mine)
        for names, side in ((rest, outside), (mine, inside)):
            if names:
                side.append(values.label(model) + ("" if names == every else f" ({', '.join(names)})"))
    return outside, inside


def best_clean(values: Values) -> str:
    """Which model has the highest figure of each kind on the clean test."""
    best_in: dict[tuple[Model, ...], list[tuple[str, str]]] = {}
    for metric in ("pixel_auroc", "pixel_ap", "image_auroc"):
        if ranked := values.ranked(values.clean, metric):
            top = percent(ranked[0][0])
            best = tuple(each for each in values.judged if percent(values.get(each, values.clean, metric)) == top)
            doubt = doubt_words(values, ranked[0][1], values.clean, metric, best)
            best_in.setdefault(best, []).append((f"{METRICS[metric].words} ({top})", doubt))
    clauses = []
    for best, what in best_in.items():
        verb = "reaches" if len(values.judged) == 1 else "has the highest" if len(best) == 1 else "have the highest"
        every = f"all {len(best)} models" if len(best) == len(values.judged) > 2 else names_of(values, best)
        doubts = {doubt for _, doubt in what}
        # A doubt that is the same of all is told once, behind them.
        shared = doubts.pop() if len(doubts) == 1 else ""
        reached = joined([words + (f", {doubt}," if doubt and not shared else "") for words, doubt in what])
        clauses.append(f"{every} {verb} {reached.rstrip(',')}" + (f", {shared}" if shared else ""))
    doubted = any(doubt for what in best_in.values() for _, doubt in what)
    why = " Not told apart: 0 lies inside the paired 95\u00a0% interval of the difference." if doubted else ""
    return f"On the clean test {'; '.join(clauses)}.{why}" if clauses else ""


def _largest_drop(values: Values) -> str:
    pairs = [(model, condition) for condition, model in product(values.attacks, values.judged)]
    changes = {pair: change for pair in pairs if not math.isnan(change := values.change(*pair, "pixel_ap"))}
    worst = min(changes, key=changes.__getitem__, default=None)
    if worst is None or changes[worst] >= 0:
        return ""

    def fell(model: Model, condition: Condition) -> str:
        before, after = (values.get(model, each, "pixel_ap") for each in (values.control, condition))
        return f"({moved_words(before, after)}, {_points(changes[model, condition])})"

    text = f"Pixel AP falls most from the control for {values.label(worst[0])} under {worst[1].label} {fell(*worst)}"
    least = max((pair for pair in changes if pair[1] == worst[1]), key=changes.__getitem__)
    more = f", and least on that set for {values.label(least[0])} {fell(*least)}" if least != worst else ""
    return f"{text}{more}."


def _eps_on_sources(values: Values) -> list[str]:
    """Whether the larger of two budgets hurts more, for each model that the sets were made on."""
    sentences = []
    for small, large in combinations(values.sets, 2):
        same = (small.norm, small.goal, small.source) == (large.norm, large.goal, large.source)
        more, less = list[str](), list[str]()
        for model in values.judged if same and small.eps < large.eps else ():
            mine, every = values.part(model, large), values.scored(model, large)
            where = (MEAN,) if mine == every else mine
            ap, auroc = (
                sum(values.get(model, large, name, at) - values.get(model, small, name, at) for at in where)
                / max(len(where), 1)
                for name in ("pixel_ap", "pixel_auroc")
            )
            if mine and not math.isnan(ap + auroc):
                place = "" if mine == every else f"{', '.join(mine)}: "
                shown = f"{values.label(model)} ({place}AP\u00a0{_points(ap)}, AUROC\u00a0{_points(auroc)})"
                (more if max(ap, auroc) < 0 else less).append(shown)
        if more:
            sentences.append(
                f"{large.label} hurts localisation more than {small.label}, as it should, for these models of the "
                f"source: {joined(more)}."
            )
        if less:
            sentences.append(
                f"{large.label} does not hurt more than {small.label} for {joined(less)} although the set "
                "was made on it: read the figures of this attack with suspicion."
            )
    return sentences


def _below_threshold(values: Values) -> str:
    low = []
    for model in values.models:
        figures = {name: values.get(model, values.clean, "pixel_auroc", name) for name in (*values.categories, MEAN)}
        weak = {name: value for name, value in figures.items() if value < LEARNED}
        mean = weak.pop(MEAN, None)
        # The mean of one category is that category.
        texts = [] if mean is None or len(values.categories) == 1 else [f"class mean {percent(mean)}"]
        many = [f"{len(weak)} of {len(values.categories)} categories"]
        texts += many if len(weak) > 3 else [f"{name} {percent(value)}" for name, value in weak.items()]
        low += [f"{values.label(model)} ({', '.join(texts)})"] if texts else []
    text = f"Below {100 * LEARNED:.0f}\u00a0% pixel AUROC on the clean test: {joined(low)}. There the detector "
    return text + "localises little, and its figures under attack say little about robustness." if low else ""


def _unlike(values: Values) -> str:
    low = []
    for model in values.models:
        figures = {name: values.get(model, values.clean, "ssim", name) for name in values.categories}
        weak = [f"{name} {value:.2f}" for name, value in figures.items() if value < REPAIRED]
        low += [f"{values.label(model)} ({', '.join(weak)})"] if weak else []
    text = f"SSIM of the reconstruction of normal images is below {REPAIRED:g} for {joined(low)}: it shows little of "
    return text + "the image, so PSNR and SSIM under attack say little there." if low else ""


def _gains(values: Values) -> str:
    lent, own = list[str](), list[str]()
    for condition, model in product(values.attacks, values.judged):
        if (change := values.change(model, condition, "pixel_ap")) > 0.0005:
            texts = own if values.part(model, condition) else lent
            texts.append(f"{values.label(model)} under {condition.label} ({_points(change)})")
    clauses = [f"so the attack does not carry over, for {joined(lent)}"] if lent else []
    clauses += [f"although the very model was attacked, for {joined(own)}"] if own else []
    return f"Pixel AP rises over the control, {'; '.join(clauses)}." if clauses else ""


def _undefined(values: Values) -> str:
    gaps = [
        f"{values.label(model)} ({category}, {condition.label})"
        for condition, model, category in product(values.conditions, values.models, values.categories)
        if values.count(model, condition, category) and math.isnan(values.get(model, condition, "pixel_ap", category))
    ]
    shown = [*gaps[:6], *([f"{len(gaps) - 6} others"] if len(gaps) > 6 else [])]
    return f"Undefined or not measured: pixel AP of {joined(shown)}." if gaps else ""


def _points(change: float) -> str:
    return f"{'+' if change > 0 else MINUS}{abs(100 * change):.1f}\u00a0points"
