"""Words that captions and sentences share: numbers of images and seeds, what a mean is over, sources. No torch here."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from omnial_bench.metrics.metric import METRICS
from omnial_bench.reports.conditions import Condition, Model
from omnial_bench.reports.table import Column, show
from omnial_bench.reports.titles import joined
from omnial_bench.reports.values import Values

AUROC_WORDS = {name: METRICS[name].words for name in ("pixel_auroc", "image_auroc")}
"""The metrics that sentences on robustness go through, as they stand in a sentence."""


def percent(value: float) -> str:
    return f"{show(value, 'percent')}\u00a0%"


def moved_words(before: float, after: float) -> str:
    return f"{100 * before:.1f}\u00a0→\u00a0{percent(after)}"


def range_words(low: float, high: float) -> str:
    return percent(low) if f"{100 * low:.1f}" == f"{100 * high:.1f}" else f"{100 * low:.1f} to {percent(high)}"


def names_of(values: Values, models: Sequence[Model]) -> str:
    """Models by name, of more than three their number."""
    return f"{len(models)} models" if len(models) > 3 else joined([values.label(model) for model in models])


def category_words(values: Values) -> str:
    many = len(values.categories)
    return f"{many} categories" if many != 1 else f"the category {values.categories[0]}"


def mean_words(values: Values) -> str:
    many = len(values.categories)
    seeds = f", averaged over {len(values.seeds)} seeds" if len(values.seeds) > 1 else ""
    names = ", ".join(values.categories) if many <= 6 else f"{', '.join(values.categories[:3])} and {many - 3} others"
    if many == 1:
        return f"category {names}{seeds}"
    some = ", of those alone where the figure is defined" if values.partial else ""
    return f"unweighted mean over {many} categories ({names}){some}{seeds}"


def number_words(values: Values, condition: Condition | None) -> str:
    """The number of images behind a column, or the fewest and the most of any model."""
    counts = _counts(values, [condition])
    return f"n = {_ends(counts)}" if counts else ""


def count_words(values: Values, conditions: Iterable[Condition | None]) -> str:
    """Number of images and seeds behind the figures under these conditions."""
    known = [condition for condition in conditions if condition is not None]
    return f"{_ends(_counts(values, known) or {0})} images, {seed_words(values, known)}"


def _counts(values: Values, conditions: Iterable[Condition | None]) -> set[int]:
    return {values.total(condition, model) for condition in conditions if condition for model in values.models} - {0}


def _ends(counts: set[int]) -> str:
    return f"{min(counts)}" + (f" to {max(counts)}" if len(counts) > 1 else "")


def seed_words(values: Values, conditions: Iterable[Condition]) -> str:
    """Seeds behind the figures under these conditions."""
    seeds = values.seeds_of(conditions)
    return f"one seed ({seeds[0]})" if len(seeds) == 1 else f"{len(seeds)} seeds ({', '.join(map(str, seeds))})"


def spread_words(values: Values, conditions: Iterable[Condition | None], shown: str) -> str:
    """What stands for the spread where there are several seeds; nothing for one."""
    several = len(values.seeds_of(condition for condition in conditions if condition is not None)) > 1
    return f" {shown} one standard deviation over the seeds." if several else ""


def interval_words(values: Values, frame: pd.DataFrame) -> str:
    """What stands in brackets, where a table has intervals."""
    if not any(str(name).endswith("_low") for name in frame.columns):
        return ""
    seeds = ", both ends averaged over the seeds" if len(values.seeds) > 1 else ""
    return f"Brackets: 95 % interval over images, by bootstrap{seeds}."


def set_words(values: Values) -> str:
    """One sentence on what the sets were made from, and on which models."""
    by_source: dict[str, list[str]] = {}
    for condition in values.sets:
        by_source.setdefault(values.titles.of_sources(condition.sources), []).append(condition.label)
    if len(by_source) == 1:
        return f"All sets were made from one source: {next(iter(by_source))}."
    return " ".join(f"{', '.join(labels)}: made from {source}." for source, labels in by_source.items())


def unlearnt_words(values: Values) -> str:
    """Which models a check says have not learnt, and where."""
    if not values.unlearnt:
        return ""
    names = [
        values.label(model) + (f" ({', '.join(where)})" if where else "") for model, where in values.unlearnt.items()
    ]
    have, them = ("has", "it") if len(names) == 1 else ("have", "them")
    return f"{joined(names)} {have} not learnt, by the health check of that name: nothing is concluded on {them}."


def kind_words(values: Values, model: Model, condition: Condition) -> str:
    """What a figure on a fixed set is for a model: transfer, or an attack on itself."""
    mine, every = values.part(model, condition), values.scored(model, condition)
    if not mine:
        return "transfer"
    own = "white-box" if len(condition.sources) < 2 else "one of the sources"
    return own if mine == every else f"{own} on {joined(list(mine))}, else transfer"


def not_apart(values: Values, best: Model, condition: Condition | None, metric: str) -> list[Model]:
    """The models that the same images do not tell apart from the best; none where that was not measured."""
    gaps = [(model, values.gap(best, model, condition, metric)) for model in values.judged if model != best]
    return [model for model, gap in gaps if gap is not None and not gap.apart]


def doubt_words(values: Values, close: Sequence[Model]) -> str:
    """Which models the first is not told apart from."""
    every = len(close) == len(values.judged) - 1 > 1
    return f"not told apart from {'any other' if every else names_of(values, close)}"


def model_column(values: Values, model: Model, key: str = "", **settings: Any) -> Column:
    """A column of a model's figures, below the title of its detector."""
    group = values.titles.of_detector(model.detector)
    return Column(key or model.name, values.short_label(model), group=group, **settings)
