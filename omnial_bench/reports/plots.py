"""The figures drawn from rows, logs and manifests. No torch here."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from omnial_bench.reports.drawing import DOUBLE, OTHER_COLOURS, SINGLE, Drawing, colour, new_figure, paper_style
from omnial_bench.reports.origins import MadeSet
from omnial_bench.reports.table import MINUS
from omnial_bench.reports.tables import set_words, spread_words
from omnial_bench.reports.values import METRIC_TITLES, Condition, Values, detector_title, model_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES: Mapping[str, Any] = {"unified": "-", "separate": (0, (3, 1.5))}
_MARKERS = {"unified": "o", "separate": "s"}


def reconstruction(values: Values) -> Drawing | None:
    """PSNR against SSIM for each model, a panel a condition, as the paper's Fig. 6a."""
    conditions = [item for item in values.conditions if _known(values, item, "psnr") and _known(values, item, "ssim")]
    if not conditions:
        return None
    with paper_style():
        across = min(len(conditions), 5)
        down = math.ceil(len(conditions) / across)
        figure = new_figure(DOUBLE, 1.75 * down + 0.65)
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(conditions) :]:
            axes.set_axis_off()
        for axes, condition in zip(grid.flat, conditions, strict=False):
            axes.grid(True)
            axes.set_title(condition.label)
            for model in values.models:
                shade = colour(model.detector, values.detectors)
                here = values.get(model, condition, "ssim"), values.get(model, condition, "psnr")
                if condition.attacked and values.control:
                    start = values.get(model, values.control, "ssim"), values.get(model, values.control, "psnr")
                    axes.plot(*zip(start, here, strict=True), color=shade, lw=0.6, alpha=0.6)
                    axes.plot(*start, ".", color=shade, ms=2.5, alpha=0.6)
                face = shade if model.paradigm == "unified" else "white"
                axes.plot(*here, _MARKERS.get(model.paradigm, "o"), color=shade, mfc=face, ms=4.5, mew=1.1)
        figure.supxlabel("SSIM", fontsize=9)
        figure.supylabel("PSNR (dB)", fontsize=9)
        _legend(figure, values, markers=True)
    thin = " Thin lines lead from the control to the set." if values.control and values.attacks else ""
    caption = (
        "Reconstruction quality: PSNR against SSIM, class means over "
        f"{_categories(values)}, between each reconstruction and the normal image. On the clean test its normal "
        f"images are compared with themselves; on the sets the image without anomaly is the reference.{thin} "
        f"{set_words(values)}"
    )
    return Drawing(
        "reconstruction", caption.rstrip(), "Scatter of PSNR against SSIM for each model, a panel a set.", figure
    )


def localisation(values: Values) -> Drawing | None:
    """Pixel AUROC and pixel AP of each model on the clean test, the control and every set, as the paper's Fig. 6b."""
    from matplotlib.patches import Patch

    metrics = [name for name in ("pixel_auroc", "pixel_ap") if name in values.metrics]
    if not metrics:
        return None
    with paper_style():
        figure = new_figure(DOUBLE, 1.9 * len(metrics) + 0.35)
        rows = figure.subplots(len(metrics), 1, squeeze=False, sharex=True)[:, 0]
        width = 0.84 / len(values.conditions)
        for axes, metric in zip(rows, metrics, strict=True):
            axes.grid(True, axis="y")
            for i, model in enumerate(values.models):
                for j, condition in enumerate(values.conditions):
                    left = i - 0.42 + j * width
                    style = _bar(condition, values, colour(model.detector, values.detectors))
                    value = values.get(model, condition, metric)
                    axes.bar(left, 0 if math.isnan(value) else 100 * value, 0.92 * width, align="edge", **style)
                    spread = 100 * values.spread(model, condition, metric)
                    if not math.isnan(spread):
                        axes.errorbar(left + 0.46 * width, 100 * value, yerr=spread, color="#222222", lw=0.6)
                    chance = 0.5 if metric == "pixel_auroc" else values.chance(condition, metric)
                    if not math.isnan(chance):
                        axes.plot([left, left + 0.92 * width], [100 * chance] * 2, color="black", lw=0.9)
            axes.set_ylim(0, 100)
            axes.set_yticks(range(0, 101, 25))
            axes.set_ylabel(f"{METRIC_TITLES[metric]} (%)")
            axes.tick_params(axis="x", length=0)
        names = [values.label(model).replace(" ", "\n").replace("with\n", "with ") for model in values.models]
        rows[-1].set_xticks(range(len(names)), names, size=8 if len(names) <= 8 else 6)
        handles = [
            Patch(**_bar(condition, values, "#555555"), label=condition.label) for condition in values.conditions
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(6, len(handles)), handlelength=1.4)
    bars = spread_words(values, values.conditions, "Thin lines:")
    caption = (
        f"Localisation under attack, class means over {_categories(values)}. Each group is a model, each bar a set "
        "of images; black lines are chance levels. The sets and the control are the same images, the clean test "
        f"others.{bars} {set_words(values)}"
    )
    return Drawing("localisation", caption.rstrip(), "Bars of pixel AUROC and pixel AP for each model and set.", figure)


def drops(values: Values) -> Drawing | None:
    """Change of pixel AP and pixel AUROC from the control, by category and model and set."""
    metrics = [name for name in ("pixel_ap", "pixel_auroc") if name in values.metrics]
    if not values.control or not values.attacks or not metrics or not values.categories:
        return None
    many = len(values.models) * len(values.attacks)
    with paper_style():
        figure = new_figure(DOUBLE, 0.75 + len(metrics) * (0.42 + 0.2 * len(values.categories)) + 0.55)
        rows = figure.subplots(len(metrics), 1, squeeze=False, sharex=True)[:, 0]
        for axes, metric in zip(rows, metrics, strict=True):
            table = [
                [
                    100 * values.change(model, condition, metric, name)
                    for condition in values.attacks
                    for model in values.models
                ]
                for name in values.categories
            ]
            image = _heat(axes, table, annotate=many <= 24)
            axes.set_yticks(range(len(values.categories)), values.categories)
            axes.set_title(METRIC_TITLES[metric], loc="left")
            for edge in range(1, len(values.attacks)):
                axes.axvline(edge * len(values.models) - 0.5, color="white", lw=3)
            figure.colorbar(image, ax=axes, label="points", fraction=0.03, pad=0.01, aspect=8)
        rows[-1].set_xticks(range(many), [values.label(m) for _ in values.attacks for m in values.models], rotation=90)
        top = rows[0].secondary_xaxis("top")
        top.set_xticks(
            [(k + 0.5) * len(values.models) - 0.5 for k in range(len(values.attacks))],
            [condition.label for condition in values.attacks],
        )
        top.tick_params(length=0)
        top.spines["top"].set_visible(False)
    caption = (
        "Change from the control by category, in points: each cell is one model on one category of one set, less the "
        f"same model on the same images before the attack. Nothing is averaged. {set_words(values)}"
    )
    return Drawing("drops", caption, "Heat map of the change of pixel AP and pixel AUROC by category.", figure)


def training(logs: Mapping[str, pd.DataFrame], values: Values) -> Drawing | None:
    """Training loss, and average precision on held-out synthetic anomalies, against the iteration."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    logs = {name: log for name, log in logs.items() if len(log) and {"iteration", "loss"} <= set(log.columns)}
    detectors = [name for name in values.detectors if any(_detector_of(log, values) == name for log in logs)]
    if not detectors:
        return None
    with paper_style():
        figure = new_figure(DOUBLE, 3.4)
        grid = figure.subplots(2, len(detectors), sharex="col", sharey="row", squeeze=False)
        for column, detector in enumerate(detectors):
            upper, lower = grid[0, column], grid[1, column]
            upper.set_title(detector_title(detector))
            for name in sorted(log for log in logs if _detector_of(log, values) == detector):
                log, unified = logs[name], "-unified" in name
                style = {
                    "color": colour(detector, values.detectors),
                    "ls": _LINES["unified" if unified else "separate"],
                    "lw": 1.3 if unified else 0.9,
                }
                smooth = log["loss"].rolling(max(1, len(log) // 30), min_periods=1).mean()
                upper.plot(log["iteration"], smooth, **style)
                if "validation_ap" in log:
                    known = log[log["validation_ap"].notna()]
                    marker = "o" if unified else "s"
                    lower.plot(known["iteration"], 100 * known["validation_ap"], marker=marker, ms=2.2, **style)
            upper.set_yscale("log")
            upper.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            upper.yaxis.set_minor_locator(NullLocator())
            lower.set_xlabel("iteration")
            lower.set_ylim(0, 100)
            for axes in (upper, lower):
                axes.grid(True)
        grid[0, 0].set_ylabel("training loss")
        grid[1, 0].set_ylabel("validation AP (%)")
        figure.align_ylabels()
        _legend(figure, values, detectors=False)
    caption = (
        "Training: sum of the loss terms (running mean over a thirtieth of the log), and pixel AP on held-out training "
        "normals with synthetic anomalies. Separate: one line a category. Losses of different detectors are not "
        "comparable, for their terms differ."
    )
    return Drawing("training", caption, "Curves of training loss and validation AP for each model.", figure)


def attack_loss(made: Mapping[str, MadeSet], values: Values) -> Drawing | None:
    """Mean attacked loss along the steps of each set."""
    curves = [(condition, made[condition.set].loss.steps) for condition in values.sets if condition.set in made]
    curves = [(condition, curve) for condition, curve in curves if len(curve) > 1]
    if not curves:
        return None
    with paper_style():
        figure = new_figure(SINGLE, 2.3)
        axes = figure.subplots()
        axes.grid(True)
        for index, (condition, curve) in enumerate(curves):
            style = OTHER_COLOURS[index % len(OTHER_COLOURS)]
            axes.plot(
                range(1, len(curve) + 1), curve, color=style, marker="osD^v"[index % 5], ms=3, label=condition.label
            )
        axes.set_xlabel("step")
        axes.set_ylabel("mean loss")
        axes.legend(loc="best")
        axes.margins(y=0.12)
    caption = (
        "The attacked loss along the steps, mean over all images of a set and the models of its source. An "
        "untargeted attack climbs it, a targeted one descends the loss to its target; a curve still steep at "
        "the end is not spent."
    )
    return Drawing("attack_loss", caption, "Curves of the mean attacked loss against the step for each set.", figure)


def _known(values: Values, condition: Condition, metric: str) -> bool:
    return any(not math.isnan(values.get(model, condition, metric)) for model in values.models)


def _categories(values: Values) -> str:
    names = values.categories
    return f"{len(names)} categories" if len(names) != 1 else f"the category {names[0]}"


def _detector_of(log: str, values: Values) -> str:
    for model in sorted(values.models, key=lambda each: -len(each.name)):
        if log == model.name or log.startswith(f"{model.name}-"):
            return model.detector
    return model_title(log)


def _bar(condition: Condition, values: Values, shade: str) -> dict[str, Any]:
    """Clean is outlined, the control full, and sets fade or carry a hatch in their order."""
    from matplotlib.colors import to_rgb

    if condition.clean:
        return {"facecolor": "white", "edgecolor": shade, "linewidth": 0.9}
    rank = values.attacks.index(condition) + 1 if condition.attacked else 0
    share = 1 - 0.75 * rank / max(1, len(values.attacks))
    face = tuple(1 - share * (1 - part) for part in to_rgb(shade))
    hatch = "" if not condition.attacked else "xxxx" if condition.white_box else "////" if condition.towards else ""
    return {"facecolor": face, "edgecolor": shade, "linewidth": 0.6, "hatch": hatch}


def _heat(axes: "Axes", table: list[list[float]], *, annotate: bool) -> Any:
    from matplotlib.colors import TwoSlopeNorm

    known = [abs(value) for row in table for value in row if not math.isnan(value)]
    reach = max([1.0, *known])
    image = axes.imshow(table, cmap="PuOr", norm=TwoSlopeNorm(0, -reach, reach), aspect="auto")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            if annotate and not math.isnan(value):
                text = f"{round(value)}".replace("-", MINUS)
                shade = "white" if abs(value) > 0.72 * reach else "black"
                axes.text(j, i, text, ha="center", va="center", size=7, color=shade)
    return image


def _legend(figure: "Figure", values: Values, *, markers: bool = False, detectors: bool = True) -> None:
    from matplotlib.lines import Line2D

    handles = []
    if markers:
        for model in values.models:
            shade = colour(model.detector, values.detectors)
            face = shade if model.paradigm == "unified" else "white"
            marker = _MARKERS.get(model.paradigm, "o")
            handles.append(
                Line2D([], [], color=shade, ls="", marker=marker, mfc=face, ms=4.5, label=values.label(model))
            )
    elif not detectors:
        paradigms = dict.fromkeys(model.paradigm for model in values.models)
        handles += [Line2D([], [], color="#555555", ls=_LINES.get(name, "-"), label=name) for name in paradigms]
    columns = len(handles) if len(handles) <= 4 else 4 if len(handles) % 3 else 3
    figure.legend(handles=handles, loc="outside upper center", ncols=max(1, columns), columnspacing=1.6)
