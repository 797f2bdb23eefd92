"""Losses against the step: of trainings, of the attacks behind sets, of attacks on the model itself. No torch here."""

from collections.abc import Mapping
from statistics import fmean
from textwrap import fill

import pandas as pd

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Model
from omnial_bench.reports.origins import MadeSet, losses_of
from omnial_bench.reports.style import LINES, OTHER_COLOURS, SINGLE, Drawing, legend, line_of, lines_of, panels
from omnial_bench.reports.suites import Evaluation, Trial
from omnial_bench.reports.values import Values
from omnial_bench.reports.wording import category_words, count_words, spread_words

TITLE = 100
"""Characters over all panels that stand side by side."""


def loss_suites(campaign: Campaign) -> list[Evaluation]:
    """The suites whose losses are drawn: the white-box one and the one of the worst case."""
    return list(dict.fromkeys(filter(None, (campaign.white_box, campaign.worst))))


def loss_figure(campaign: Campaign, suite: Evaluation) -> Drawing | None:
    """A panel a threat, a line a model: the mean objective before each step over images and categories."""
    import seaborn as sns

    values = campaign.values
    lines = {trial: _curves(campaign, trial) for trial in suite.own}
    lines = {trial: losses for trial, losses in lines.items() if len(losses)}
    if not lines:
        return None
    styles = lines_of(values, marker="")
    across = min(len(lines), 4 if len(lines) not in (5, 6, 9) else 3)
    with panels(len(lines), across, 1.6, 0.75) as (figure, places):
        for axes, (trial, losses) in zip(places, lines.items(), strict=True):
            turned = " (descends)" if campaign.attempts_under(trial)["direction"].iloc[0] == "down" else ""
            ball, _, how = suite.title(trial).partition(", ")
            attack = fill(how, width=TITLE // across, break_on_hyphens=False)
            axes.set_title("\n".join(filter(None, (ball, attack))) + turned, size=8)
            for label, part in losses.groupby("model", sort=False):
                sns.lineplot(
                    part, x="step", y="value", errorbar="sd", err_kws={"alpha": 0.15, "lw": 0}, ax=axes,
                    **styles[str(label)],
                )  # fmt: skip
            axes.set(xlabel="", ylabel="")
            axes.grid(True)
            axes.margins(y=0.12)
            axes.locator_params(axis="x", integer=True, nbins=5)
            axes.locator_params(axis="y", nbins=5)
        figure.supxlabel("step")
        figure.supylabel("mean objective")
        legend(figure, styles)
    several = campaign.attempts["seed"].nunique() > 1
    conditions = [trial.own for trial in lines]
    spread = spread_words(values, conditions, "Bands:")
    caption = (
        f"The objective along the steps of the suite {suite.label}: each model attacked itself, mean over the images "
        f"that a goal attacks, then over {category_words(values)}{' and seeds' if several else ''}; "
        f"{count_words(values, conditions)} are scored.{spread} An attack raises its objective, or lowers it towards a "
        "target where the title says descends; each panel has its own scale, for objectives differ. A curve still "
        "steep at the end is not spent."
    )
    alt = "Curves of the mean attacked objective against the step, a panel a threat."
    return Drawing(f"losses_{suite.name}", caption, alt, figure)


def _curves(campaign: Campaign, trial: Trial) -> pd.DataFrame:
    """A row a model, seed and step, the mean over the categories; cut to the shortest where lengths differ."""
    attempts, points = campaign.attempts_under(trial), list[tuple[str, int, float]]()
    for model in campaign.values.models:
        rows = model.rows_in(attempts[attempts["losses"] != ""])
        parts = [map(losses_of, part["losses"]) for _, part in rows.groupby("seed")]
        curves = [list(map(fmean, zip(*losses, strict=False))) for losses in parts]
        means = [*zip(*(curve for curve in curves if len(curve) > 1), strict=False)]
        # One more than there are steps: first comes the value of the random start.
        for step, reached in enumerate(means, start=0 if len(means) > trial.steps else 1):
            points += [(campaign.values.label(model), step, value) for value in reached]
    return pd.DataFrame(points, columns=["model", "step", "value"])


def training(logs: Mapping[str, pd.DataFrame], values: Values) -> Drawing | None:
    """Training loss, and where it was measured average precision on held-out synthetic anomalies, against the
    iteration."""
    import seaborn as sns
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    # A detector that was fitted has a log without a loss.
    logs = {name: log for name, log in logs.items() if {"iteration", "loss"} <= set(log) and log["loss"].notna().any()}
    detectors = [name for name in values.detectors if any(_detector_of(log, values) == name for log in logs)]
    if not detectors:
        return None
    validated = any("validation_ap" in log and log["validation_ap"].notna().any() for log in logs.values())
    across, rows = len(detectors), 1 + validated
    with panels(across * rows, across, 1.7 if validated else 2.0, sharex="col", sharey="row") as (figure, places):
        for detector, upper, lower in zip(detectors, places[:across], places[-across:], strict=True):
            for name in sorted(log for log in logs if _detector_of(log, values) == detector):
                log, paradigm = logs[name], "unified" if "-unified" in name else "separate"
                line = line_of(Model(detector, paradigm, ""), values) | {"lw": 1.3 if paradigm == "unified" else 0.9}
                smooth = log["loss"].rolling(max(1, len(log) // 30), min_periods=1).mean()
                sns.lineplot(x=log["iteration"], y=smooth, estimator=None, ax=upper, **line | {"marker": ""})
                known = 100 * log["validation_ap"].dropna() if "validation_ap" in log else ()
                if len(known):
                    line |= {"ms": 2.5, "mew": 0.8}
                    sns.lineplot(x=log["iteration"], y=known, estimator=None, ax=lower, **line)
            upper.set(title=values.titles.of_detector(detector), xlabel="", ylabel="training loss", yscale="log")
            upper.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            upper.yaxis.set_minor_locator(NullLocator())
            lower.set(xlabel="iteration", **({"ylabel": "validation AP (%)", "ylim": (0, 100)} if validated else {}))
        for axes in places:
            axes.grid(True)
            axes.label_outer()
        figure.align_ylabels()
        paradigms = dict.fromkeys(model.paradigm for model in values.models)
        legend(figure, {name: {"color": "#555555", "ls": LINES.get(name, "-")} for name in paradigms})
    held_out = ", and pixel AP on held-out training normals with synthetic anomalies" if validated else ""
    caption = (
        f"Training: sum of the loss terms (running mean over a thirtieth of the log){held_out}. Separate: one line a "
        "category. Losses of different detectors are not comparable, for their terms differ."
    )
    alt = f"Curves of training loss{' and validation AP' if validated else ''} for each model."
    return Drawing("training", caption, alt, figure)


def attack_loss(manifests: Mapping[str, MadeSet], values: Values) -> Drawing | None:
    """Mean attacked loss along the steps of each set."""
    import seaborn as sns

    losses = {each: manifests[each.set].loss.steps for each in values.sets if each.set in manifests}
    curves = {condition: steps for condition, steps in losses.items() if len(steps) > 1}
    if not curves:
        return None
    lines = {}
    with panels(1, 1, 2.5, width=SINGLE) as (figure, [axes]):
        for index, (condition, steps) in enumerate(curves.items()):
            shade = OTHER_COLOURS[index % len(OTHER_COLOURS)]
            line = {"color": shade, "mec": shade, "marker": "osD^v"[index % 5], "ms": 3}
            sns.lineplot(x=range(1, len(steps) + 1), y=steps, estimator=None, ax=axes, **line)
            lines[condition.label] = line
        axes.set(xlabel="step", ylabel="mean loss")
        axes.grid(True)
        axes.margins(y=0.12)
        legend(figure, lines)
    caption = (
        "The attacked loss along the steps, mean over all images of a set and the models of its source. An untargeted "
        "attack climbs it, a targeted one descends the loss to its target; a curve still steep at the end is not spent."
    )
    return Drawing("attack_loss", caption, "Curves of the mean attacked loss against the step for each set.", figure)


def _detector_of(log: str, values: Values) -> str:
    longest_first = sorted(values.models, key=lambda each: -len(each.name))
    return next((model.detector for model in longest_first if model.owns(log)), values.titles.of_model(log))
