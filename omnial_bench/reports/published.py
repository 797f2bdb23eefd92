"""The published figures of reports/published.csv, to stand beside measured ones. No torch here."""

from dataclasses import dataclass
from functools import cache

import pandas as pd

from omnial_bench.config.load import records_folder


@dataclass(frozen=True)
class Published:
    """A printed figure as a fraction, and what is doubtful about it in print (empty: nothing)."""

    value: float
    test_images: int
    note: str


def published(
    dataset: str, category: str, detector: str, paradigm: str, metric: str, *, variant: str = ""
) -> Published | None:
    """The printed figure (category `mean`: the printed average); None where nothing was printed."""
    return _table().get((dataset, category, detector, paradigm, metric, variant))


def published_categories(dataset: str) -> frozenset[str]:
    """The categories of a data set that have printed figures."""
    return frozenset(key[1] for key in _table() if key[0] == dataset and key[1] != "mean")


@cache
def _table() -> dict[tuple[str, ...], Published]:
    frame = pd.read_csv(records_folder("reports") / "published.csv", dtype=str, keep_default_na=False)
    names = ("dataset", "category", "detector", "paradigm", "metric", "variant")
    values = ("percent", "test_images", "note")
    return {
        tuple(key): Published(float(percent) / 100, int(images), note)
        for *key, percent, images, note in zip(*(frame[name] for name in (*names, *values)), strict=True)
    }
