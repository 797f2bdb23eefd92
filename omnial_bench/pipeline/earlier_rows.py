"""Rows that lie in the folder of a request already: none is lost to other ones."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omnial_bench.errors import UserError
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.target import Labels
from omnial_bench.io.whole import set_aside
from omnial_bench.pipeline.task_cache import FOLDER
from omnial_bench.progress import LOG
from omnial_bench.results import DIFFERENCES, KEY, UNFINISHED, read_rows

log = logging.getLogger(__name__)

NAMED = tuple(name for name in KEY if name != "metric")
"""The columns that tell the rows of one model on one set of images from others."""
MODEL = ("detector", "paradigm", "preset", "dataset", "category", "seed")
WRITTEN = (
    "results.csv", "attacks.csv", "health.csv", DIFFERENCES, UNFINISHED, "environment.json", LOG, FOLDER, EXAMPLES,
)  # fmt: skip
"""What lies in the folder of a request afterwards; all else there is the user's."""


def check_rows(path: Path, names: Sequence[tuple[str, ...]], sets: Sequence[str]) -> None:
    """UserError where rows that are there would be lost: neither among `names` nor those of a model under a suite."""
    if not path.is_file():
        return
    models = {tuple(dict(zip(NAMED, name, strict=True))[column] for column in MODEL) for name in names}
    try:
        known = read_rows(path)
    except UserError as error:
        if not any(path.parent.glob(".tasks/*.json")):
            raise
        # What was scored here lies in the notes of the tasks as well.
        log.warning("made again, the damaged one is kept as %s: %s", set_aside(path), error)
        return
    for values in known.to_dict("records"):
        # A condition's rows go with those of all images.
        if values["category"] == "mean" or _name({**values, "set": values["set"].partition("/")[0]}) in names:
            continue
        if values["set"] in sets and tuple(str(values[column]) for column in MODEL) in models:
            continue
        raise UserError(
            f"{path} holds other rows, {row_text(_name(values))}, which would be lost; choose another folder"
        )


def row_names(labels: Labels, categories: Sequence[str]) -> list[tuple[str, ...]]:
    """The names of a model's rows on images of categories, as `check_rows` takes them."""
    return [_name({**vars(labels), "category": category}) for category in categories]


def _name(values: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(str(values[column]) for column in NAMED)


def row_text(name: tuple[str, ...]) -> str:
    """A row's name in words."""
    values = dict(zip(NAMED, name, strict=True))
    return " ".join(values[column] for column in ("detector", "paradigm", "category", "set"))
