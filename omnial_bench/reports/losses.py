"""The attacked objective along the steps, for attacks on the model itself. No torch here."""

import math
from statistics import fmean

import pandas as pd

from omnial_bench.reports import looks
from omnial_bench.reports.attempts import losses_of
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.drawing import DOUBLE, Drawing, new_figure, paper_style
from omnial_bench.reports.suites import Evaluation, Trial
from omnial_bench.reports.tables import count_words, spread_words
from omnial_bench.reports.values import Values


def loss_suites(campaign: Campaign) -> list[Evaluation]:
    """The suites whose losses are drawn: the white-box one and the one of the worst case."""
    chosen = [each for each in (campaign.white_box, campaign.worst) if each]
    return list(dict.fromkeys(chosen))


def loss_figure(campaign: Campaign, suite: Evaluation) -> Drawing | None:
    """A panel a threat, a line a model: the mean objective before each step over images and categories."""
    import seaborn as sns

    values = campaign.values
    lines = {trial: _curves(campaign, trial) for trial in suite.own}
    lines = {trial: found for trial, found in lines.items() if len(found)}
    if not lines:
        return None
    styles = looks.lines_of(values, marker="")
    with paper_style():
        across = min(len(lines), 4 if len(lines) not in (5, 6, 9) else 3)
        down = math.ceil(len(lines) / across)
        figure = new_figure(DOUBLE, 1.6 * down + 0.75)
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(lines) :]:
            axes.set_axis_off()
        for axes, (trial, found) in zip(grid.flat, lines.items(), strict=False):
            turned = " (descends)" if _direction(campaign, trial) == "down" else ""
            axes.set_title(suite.title(trial).replace(", ", "\n", 1) + turned, size=8)
            for label, part in found.groupby("model", sort=False):
                sns.lineplot(
                    part, x="step", y="value", errorbar="sd", err_kws={"alpha": 0.15, "lw": 0}, ax=axes,
                    **styles[str(label)],
                )  # fmt: skip
            axes.set(xlabel="", ylabel="")
            axes.grid(True)
            axes.margins(y=0.12)
            axes.locator_params(axis="x", integer=True, nbins=5)
            axes.locator_params(axis="y", nbins=5)
        figure.supxlabel("step", fontsize=9)
        figure.supylabel("mean objective", fontsize=9)
        looks.legend(figure, styles)
    several = len(campaign.attempts["seed"].dropna().unique()) > 1
    conditions = [trial.own for trial in lines]
    spread = spread_words(values, conditions, "Bands:")
    caption = (
        f"The objective along the steps of the suite {suite.label}: each model attacked itself, mean over the images "
        f"that a goal attacks, then over {_categories(values)}{' and seeds' if several else ''}; "
        f"{count_words(values, conditions)} are scored.{spread} An attack raises its objective, or lowers it towards a "
        "target where the title says descends; each panel has its own scale, for objectives differ. A curve still "
        "steep at the end is not spent."
    )
    name = f"losses_{suite.name}"
    return Drawing(name, caption, "Curves of the mean attacked objective against the step, a panel a threat.", figure)


def _curves(campaign: Campaign, trial: Trial) -> pd.DataFrame:
    """A row a model, seed and step, the mean over the categories; cut to the shortest where lengths differ."""
    attempts, values = campaign.attempts, campaign.values
    mine = attempts[(attempts["set"] == trial.set) & (attempts["source"] == "self") & (attempts["losses"] != "")]
    found: list[tuple[str, int, float]] = []
    for model in values.models:
        rows: pd.DataFrame = mine[(mine["detector"] == model.detector) & (mine["paradigm"] == model.paradigm)]
        curves: list[list[float]] = []
        for _, part in rows.groupby("seed"):
            curve = [fmean(step) for step in zip(*map(losses_of, part["losses"]), strict=False)]
            curves += [curve] if len(curve) > 1 else []
        for step, reached in enumerate(zip(*curves, strict=False), start=1):
            found += [(values.label(model), step, value) for value in reached]
    return pd.DataFrame(found, columns=["model", "step", "value"])


def _direction(campaign: Campaign, trial: Trial) -> str:
    attempts = campaign.attempts
    found = attempts.loc[(attempts["set"] == trial.set) & (attempts["source"] == "self"), "direction"]
    return "" if found.empty else str(found.iloc[0])


def _categories(values: Values) -> str:
    names = values.categories
    return f"{len(names)} categories" if len(names) != 1 else f"the category {names[0]}"
