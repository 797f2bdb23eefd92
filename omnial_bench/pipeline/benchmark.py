"""A detector in hand -> rows: on the clean test split, and under a suite that attacks it; kept on disk on request."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from torch import Tensor, nn

from omnial_bench.attacks.checks import check_suite
from omnial_bench.attacks.health import doubts, health
from omnial_bench.config.load import read_suite
from omnial_bench.config.schema import Paradigm
from omnial_bench.data.dataset import Truth, find_dataset
from omnial_bench.data.readers.base import Reader
from omnial_bench.errors import UserError, is_printable
from omnial_bench.evaluation.class_means import with_means
from omnial_bench.evaluation.differences import Drawn, differences
from omnial_bench.evaluation.tally import say_anew
from omnial_bench.evaluation.target import Labels
from omnial_bench.io.links import check_links
from omnial_bench.io.whole import check_folder
from omnial_bench.metrics.accumulator import Accumulator, check_metrics
from omnial_bench.metrics.alarms import RATE
from omnial_bench.pipeline.in_hand import Subject, evaluate_in_hand
from omnial_bench.pipeline.ledger import WRITTEN
from omnial_bench.pipeline.own_detector import Factory, check_name
from omnial_bench.pipeline.plan import look_through
from omnial_bench.pipeline.site import Site, check_seed, check_size
from omnial_bench.progress import watching
from omnial_bench.results import AT_THRESHOLD, HEADLINE, KEY, attempts_frame, differences_frame, frame
from omnial_bench.runtime import Precision, fabric
from omnial_bench.trust import load

LEAST_SHOWN = 2
"""Images a category under attack, at the least: a normal and an anomalous one."""
Telling = Callable[[str, int, int, str], None]
"""Called with a task's name, its steps done and in all, and a note."""


class Benchmark(pd.DataFrame):
    """The rows of a benchmark, as a frame with the columns of results.csv; frames made of it are plain ones."""

    _metadata = ["attempts", "health", "drawn"]  # noqa: RUF012
    attempts: pd.DataFrame
    """How each attack went, the columns of attacks.csv."""
    health: pd.DataFrame
    """The checks of the attacks, the columns of health.csv."""
    drawn: list[Drawn]
    """What `compare` takes."""

    def __repr__(self) -> str:
        """The class means by set in per cent, and at the threshold how many defects are missed and how many normal
        images raise an alarm."""
        if not {*KEY, "value", "n"} <= set(self.columns):
            return super().__repr__()
        means, parts = self[self["category"] == "mean"], self[self["category"] != "mean"].dropna(subset="value")
        columns = {
            name: means[means["metric"] == name].set_index("set")["value"].map("{:.1%}".format, na_action="ignore")
            for name in HEADLINE
        }
        for name in AT_THRESHOLD:
            own = parts[parts["metric"] == name].assign(hits=lambda own: own["value"] * own["n"])
            counts = own.groupby("set", sort=False)[["hits", "n"]].sum()
            columns[name] = counts["hits"].round().map("{:.0f} of ".format) + counts["n"].map(str)
        shown = pd.DataFrame(columns).reindex(means["set"].unique()).rename_axis(None).fillna("-")
        return f"{shown.to_string()}\n{len(self)} rows: frame.to_string() shows them"


def benchmark(
    detector: nn.Module | Factory,
    data: str | Path,
    suite: str | Path = "paper",
    *,
    reader: str | Reader | None = None,
    labels: Truth | None = None,
    categories: Sequence[str] | None = None,
    size: tuple[int, int] = (256, 256),
    name: str = "detector",
    paradigm: Paradigm = "unified",
    preset: str = "given",
    options: Mapping[str, Any] | None = None,
    held_out: Tensor | str | Path | None = None,
    limit: int | None = None,
    false_alarms: float = RATE,
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "32-true",
    progress: bool | Telling = False,
    save: str | Path | None = None,
    metrics: Sequence[str | type[Accumulator]] = (),
    trusted: Sequence[str] = (),
) -> Benchmark:
    """A detector in hand on the clean test split and under a suite that attacks it.

    `detector` is a Detector, any module that returns an anomaly map, a pair of map and image score, or a Prediction
    (see `outside.adapter.Adapted`), or a function that makes one (see `own_detector.detector_at`), called with the
    `options`, once, or once a category where `paradigm` is `separate`. `held_out` are normal images that the module was
    not fitted on, which its scale comes from: (n, 3, h, w) in [0, 1], or a folder of files or of one folder a category.
    `data` is a folder in a layout of READERS, or in any other that `reader` reads: a Reader, or the name of one,
    `package.module:object`, whose code this call runs; with `labels` of `image` no masks are read. `size` is the
    network's height and width, `limit` the images a category under attack, `false_alarms` the share of normal images
    that decision thresholds let raise one. `progress` is True for bars on a terminal or in a notebook, or a function
    called with a task's name, steps done, steps in all and a note. Into the folder `save` go the files that
    `omnial-bench score` writes, for `omnial-bench report`. `metrics` are classes of Accumulator, or names
    `package.module:object` of them, whose figures are rows as well; `trusted` are the names of attacks from elsewhere
    that the suite may run.

    The frame has the columns of results.csv, and the attributes `health` and `attempts`, the frames of health.csv and
    attacks.csv; `source` is `self`, for every attack is on this detector. A check of the attacks' health that fails is
    a warning. UserError for a mistake in what is given, for a detector that cannot be attacked, and for a folder that
    holds other rows, which would be lost.
    """
    name, size = check_name(name), check_size(size)
    check_seed(seed)
    if not isinstance(false_alarms, int | float) or not 0 < false_alarms < 1:
        raise UserError(f"expected false_alarms as a share between 0 and 1 such as 0.05, got {false_alarms!r}")
    if limit is not None and (type(limit) is not int or limit < LEAST_SHOWN):
        raise UserError(f"expected a limit of at least {LEAST_SHOWN} images a category, got {limit!r}")
    _check_kinds(
        data=data, suite=suite, reader=reader, categories=categories, device=device, progress=progress, save=save
    )
    if not isinstance(preset, str) or not is_printable(preset):
        raise UserError(f"expected a preset of one line that can be printed, got {preset!r}")
    if precision not in get_args(Precision):
        raise UserError(f"unknown precision {precision!r}; expected {', '.join(get_args(Precision))}")
    for what, names in (("metrics", metrics), ("trusted", trusted)):
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise UserError(f"expected {what} as a list, got {names!r}; write [{names!r}]"[:300])
    record = read_suite(str(suite), trusted)
    check_suite(record)
    own = check_metrics(load(each, [each], "the call", "metric") if isinstance(each, str) else each for each in metrics)
    on = fabric(device, precision).device
    out = None if save is None else Path(save)
    if out is not None:
        check_links(out, WRITTEN)
        check_folder(out)
    readers = [reader] if isinstance(reader, str) else []
    dataset = find_dataset(Path(data), categories, reader=reader, trusted=readers, labels=labels)
    if paradigm not in ("unified", "separate"):
        raise UserError(f"expected paradigm unified or separate, got {paradigm!r}")
    if paradigm == "separate" and isinstance(detector, nn.Module) and len(dataset.categories) > 1:
        raise UserError(
            f"expected a factory, which makes a module for each of {len(dataset.categories)} categories, got one "
            "module; give a function that makes it, or one category"
        )
    look_through(dataset, ("train", "test"), size)
    say_anew()
    unshown = nullcontext(lambda task: partial(progress, task) if callable(progress) else None)
    with watching(notebook=True) if progress is True else unshown as watch, _modes_kept(detector):
        site = Site(
            dataset=dataset, categories=dataset.categories, size=size, device=on, seed=seed, options=options or {},
            held_out=held_out,
        )  # fmt: skip
        columns = Labels(detector=name, paradigm=paradigm, preset=preset, dataset=dataset.name, seed=seed, run=name)
        subject = Subject(
            site=site, suite=record, labels=columns, limit=limit, precision=precision, watch=watch, out=out,
            metrics=own, false_alarms=false_alarms,
        )  # fmt: skip
        outcome = evaluate_in_hand(subject, detector)
    rows = Benchmark(frame(with_means(outcome.rows)))
    rows.attempts = attempts_frame(outcome.attempts)
    rows.health = health(rows, rows.attempts)
    rows.drawn = outcome.drawn
    for notes in doubts(rows.health)["notes"]:
        warnings.warn(f"{name}: {notes}", stacklevel=2)
    return rows


def _check_kinds(
    *, data: object, suite: object, reader: object, categories: object, device: object, progress: object, save: object
) -> None:
    """UserError for what is of another kind than `benchmark` takes."""
    if isinstance(categories, str):
        raise UserError(f"expected categories as a list of names, got {categories!r}; write [{categories!r}]")
    named = isinstance(categories, Collection) and all(isinstance(name, str) for name in categories)
    for what, fits, got in (
        ("the folder of a data set", isinstance(data, str | Path), data),
        ("the name of a suite or the path of its file", isinstance(suite, str | Path), suite),
        ("a Reader or the name of one", reader is None or isinstance(reader, str | Reader), reader),
        ("categories as a list of names", categories is None or named, categories),
        ("a device such as cpu", isinstance(device, str), device),
        ("progress as True, False or a function", isinstance(progress, bool) or callable(progress), progress),
        ("a folder to save to", save is None or isinstance(save, str | Path), save),
    ):
        if not fits:
            raise UserError(f"expected {what}, got {got!r}"[:300])


def compare(*benchmarks: Benchmark) -> pd.DataFrame:
    """Every pair of detectors that were benchmarked on the same images, with the columns of differences.csv.

    The `difference` is the figure of the first less that of the other, `low` and `high` are the ends of its 95 %
    interval over images, of which both had the same draws. UserError where two detectors share a name.
    """
    names = [name for rows in benchmarks for name in dict.fromkeys(rows["detector"] + " " + rows["paradigm"])]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"expected detectors of different names, got {name} twice; benchmark one under another name"
            )
    return differences_frame(differences(figure for rows in benchmarks for figure in rows.drawn))


@contextmanager
def _modes_kept(detector: object) -> Iterator[None]:
    modules = detector.modules() if isinstance(detector, nn.Module) else ()
    modes = [(module, module.training) for module in modules]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
