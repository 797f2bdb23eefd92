"""Models compared with one another on the same images: differences of figures, and their intervals draw by draw."""

import base64
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.io.csv import csv_text
from omnial_bench.io.whole import write_text
from omnial_bench.metrics.intervals import ends_of
from omnial_bench.results import DIFFERENCES, Difference, differences_frame

_TYPE = np.dtype("<f2")
"""Half precision: an end of an interval is off by a few hundredths of a point at the most."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure of one model on the images of one category, and how it came out on each draw of them."""

    detector: str
    paradigm: str
    preset: str
    dataset: str
    category: str
    set: str
    source: str
    metric: str
    value: float
    n: int
    seed: int
    images: str
    """A hash of the images' names in their order: figures on other images are not compared."""
    deviations: str = ""
    """How far each draw lies off the figure of all images, as `text_of` writes it; empty where there are no draws."""


def text_of(draws: Float[Tensor, " d"]) -> str:
    """How far draws lie off the first, two bytes each, as text that JSON can hold."""
    return base64.b64encode((draws[1:] - draws[0]).numpy().astype(_TYPE).tobytes()).decode("ascii")


def hash_of(names: Iterable[str]) -> str:
    """A hash of names in their order."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]


def differences(drawn: Iterable[Drawn]) -> list[Difference]:
    """Every pair of models on every category and set of images that both have seen, and after them the class means.

    A mean is there where both models have the figure in the same categories; the distances of the classes to the ends
    of their intervals add as squares, as those of a single model do.
    """
    groups: dict[tuple[object, ...], list[Drawn]] = {}
    for figure in drawn:
        key = (figure.dataset, figure.set, figure.source, figure.metric, figure.seed)
        groups.setdefault(key, []).append(figure)
    rows = []
    for members in groups.values():
        models: dict[tuple[str, str, str], dict[str, Drawn]] = {}
        for figure in members:
            models.setdefault((figure.detector, figure.paradigm, figure.preset), {})[figure.category] = figure
        for mine, others in combinations(models.values(), 2):
            common = [name for name in mine if name in others and mine[name].images == others[name].images]
            pairs = [_between(mine[name], others[name]) for name in common]
            rows += [*pairs, *([_mean(pairs)] if pairs and len(pairs) == len(mine) == len(others) else [])]
    return rows


def _between(first: Drawn, other: Drawn) -> Difference:
    difference, ends = first.value - other.value, _ends(first, other)
    low, high = (None, None) if ends is None else _within(difference, *ends)
    return Difference(
        dataset=first.dataset, category=first.category, set=first.set, source=first.source, metric=first.metric,
        detector=first.detector, paradigm=first.paradigm, preset=first.preset, other_detector=other.detector,
        other_paradigm=other.paradigm, other_preset=other.preset, difference=difference, low=low, high=high, n=first.n,
        seed=first.seed,
    )  # fmt: skip


def _ends(first: Drawn, other: Drawn) -> tuple[float, float] | None:
    """How far the middle of the differences of the draws reaches below and above that of all images."""
    if not first.deviations or not other.deviations:
        return None
    mine, others = (_read(each.deviations) for each in (first, other))
    if len(mine) != len(others) or not (mine - others).isfinite().any():
        return None
    return ends_of(torch.cat([torch.zeros(1, dtype=torch.float64), mine - others]))


def _read(text: str) -> Float[Tensor, " d"]:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype=_TYPE).astype("float64"))


def _mean(pairs: Sequence[Difference]) -> Difference:
    count = len(pairs)
    difference = math.fsum(pair.difference for pair in pairs) / count
    below = [pair.difference - pair.low for pair in pairs if pair.low is not None]
    above = [pair.high - pair.difference for pair in pairs if pair.high is not None]
    low, high = (
        _within(difference, -math.hypot(*below) / count, math.hypot(*above) / count)
        if len(below) == len(above) == count
        else (None, None)
    )
    n = sum(pair.n for pair in pairs)
    return replace(pairs[0], category="mean", difference=difference, low=low, high=high, n=n)


def _within(difference: float, below: float, above: float) -> tuple[float, float]:
    return max(-1.0, difference + below), min(1.0, difference + above)


def write_differences(out: Path, drawn: Iterable[Drawn]) -> None:
    """differences.csv whole, where there is a pair to compare or an earlier file that is out of date."""
    rows, path = differences(drawn), out / DIFFERENCES
    if rows or path.exists():
        write_text(path, csv_text(differences_frame(rows)))
