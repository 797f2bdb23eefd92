"""The figures drawn from rows, logs and manifests. No torch here."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, joined
from omnial_bench.reports.style import CHANCE_LINE, Drawing, colour, figures_of, heat, legend, line_of, lines_of, panels
from omnial_bench.reports.values import METRIC_TITLES, Values
from omnial_bench.reports.wording import category_words, count_words, mean_words, set_words, spread_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GOAL_MARKS: dict[str, dict[str, Any]] = {
    "unattacked": {"marker": "|", "markersize": 9, "markeredgewidth": 1.4},
    "hide": {"marker": "v", "markersize": 5.5, "markeredgewidth": 1},
    "fabricate": {"marker": "o", "markerfacecolor": "white", "markersize": 5, "markeredgewidth": 1.2},
}


def reconstruction(values: Values) -> Drawing | None:
    """PSNR against SSIM for each model, a panel a condition, as the paper's Fig. 6a."""
    quality = ("ssim", "psnr")
    conditions = [each for each in values.conditions if all(values.known(each, name) for name in quality)]
    if not conditions:
        return None
    across = min(len(conditions), 5)
    with panels(len(conditions), across, 1.75, 0.65, sharex=True, sharey=True) as (figure, places):
        for axes, condition in zip(places, conditions, strict=True):
            axes.grid(True)
            axes.set_title(condition.label)
            for model in values.models:
                line, ends = line_of(model, values), (condition, values.control)
                here, start = ([values.get(model, end, metric) for metric in quality] for end in ends)
                if condition.attacked and values.control:
                    axes.plot(*zip(start, here, strict=True), color=line["color"], lw=0.6, alpha=0.6)
                    axes.plot(*start, ".", color=line["color"], ms=2.5, alpha=0.6)
                axes.plot(*here, **line)
        figure.supxlabel("SSIM")
        figure.supylabel("PSNR (dB)")
        legend(figure, lines_of(values, ls=""))
    thin = " Thin lines lead from the control to the set." if values.control and values.attacks else ""
    caption = (
        f"Reconstruction quality: PSNR against SSIM, class means over {category_words(values)}, between each "
        "reconstruction and the normal image. On the clean test its normal images are compared with themselves; on "
        f"the sets the image without anomaly is the reference.{thin} {set_words(values)}"
    )
    alt = "Scatter of PSNR against SSIM for each model, a panel a set."
    return Drawing("reconstruction", caption.rstrip(), alt, figure)


def localisation(values: Values) -> Drawing | None:
    """Pixel AUROC and pixel AP of each model on the clean test, the control and every set, as the paper's Fig. 6b."""
    import seaborn as sns
    from matplotlib.patches import Patch

    metrics = [name for name in ("pixel_auroc", "pixel_ap") if name in values.metrics]
    if not metrics:
        return None
    with panels(len(metrics), 1, 1.9, 0.35, sharex=True) as (figure, rows):
        shown = {str(place): condition for place, condition in enumerate(values.conditions)}
        labels = [values.label(model) for model in values.models]
        for axes, metric in zip(rows, metrics, strict=True):
            sns.barplot(
                figures_of(values, shown, metric), x="model", y="value", hue="at", order=labels, hue_order=shown,
                errorbar="sd", err_kws={"color": "#222222", "lw": 0.6}, width=0.84, gap=0.08, legend=False, ax=axes,
            )  # fmt: skip
            for bar in axes.patches:
                # Bars without a figure are not drawn: a bar's place tells whose it is.
                at = bar.get_x() + bar.get_width() / 2
                model, condition = values.models[round(at)], values.conditions[_rank(at, len(shown))]
                bar.set(**_bar(condition, values, colour(model.detector, values.detectors)))
                chance = 0.5 if metric == "pixel_auroc" else values.chance(condition, metric)
                axes.hlines(100 * chance, bar.get_x(), bar.get_x() + bar.get_width(), color="black", lw=0.9)
            axes.set(xlabel="", ylabel=f"{METRIC_TITLES[metric]} (%)", ylim=(0, 100), yticks=range(0, 101, 25))
            axes.grid(True, axis="y")
            axes.tick_params(axis="x", length=0)
        names = [label.replace(" ", "\n").replace("with\n", "with ") for label in labels]
        rows[-1].set_xticks(range(len(names)), names, size=8 if len(names) <= 8 else 6)
        handles = [Patch(**_bar(each, values, "#555555"), label=each.label) for each in values.conditions]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(6, len(handles)), handlelength=1.4)
    bars = spread_words(values, values.conditions, "Thin lines:")
    caption = (
        f"Localisation under attack, class means over {category_words(values)}. Each group is a model, each bar a set "
        "of images; black lines are chance levels. The sets and the control are the same images, the clean test "
        f"others.{bars} {set_words(values)}"
    )
    return Drawing("localisation", caption.rstrip(), "Bars of pixel AUROC and pixel AP for each model and set.", figure)


def drops(values: Values) -> Drawing | None:
    """Change of pixel AP and pixel AUROC from the control, by category and model and set."""
    metrics = [name for name in ("pixel_ap", "pixel_auroc") if name in values.metrics]
    if not values.control or not values.attacks or not metrics or not values.categories:
        return None
    pairs, tables = [(model, condition) for condition in values.attacks for model in values.models], {}
    for metric in metrics:
        lines = [[100 * values.change(*pair, metric, name) for pair in pairs] for name in values.categories]
        tables[metric] = pd.DataFrame(lines, index=list(values.categories))
    reach = max(1.0, *(float(table.abs().max().max()) for table in tables.values()))
    labels = [values.label(model) for model, _ in pairs]
    # A letter of the labels that stand upright below takes about 0.06 inches.
    rest = max(1.3, 0.6 + 0.06 * max(map(len, labels)))
    with panels(len(metrics), 1, 0.42 + 0.2 * len(values.categories), rest, sharex=True) as (figure, rows):
        for axes, (metric, table) in zip(rows, tables.items(), strict=True):
            digits = 0 if len(pairs) <= 24 else None
            image = heat(axes, table, -reach, reach, digits=digits, xticklabels=labels)
            axes.set_title(METRIC_TITLES[metric], loc="left")
            for edge in range(1, len(values.attacks)):
                axes.axvline(edge * len(values.models), color="white", lw=3)
        figure.colorbar(image, ax=rows, label="points", fraction=0.03, pad=0.01)
        rows[-1].tick_params(axis="x", rotation=90, labelsize=min(8, 400 / len(pairs)))
        top = rows[0].secondary_xaxis("top")
        middles = [(place + 0.5) * len(values.models) for place in range(len(values.attacks))]
        top.set_xticks(middles, [condition.label for condition in values.attacks])
        top.tick_params(length=0)
        top.spines["top"].set_visible(False)
    caption = (
        "Change from the control by category, in points: each cell is one model on one category of one set, less the "
        f"same model on the same images before the attack. Nothing is averaged. {set_words(values)}"
    )
    return Drawing("drops", caption, "Heat map of the change of pixel AP and pixel AUROC by category.", figure)


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


def _rank(at: float, bars: int) -> int:
    """Which bar of its group stands at a place, groups being 0.84 wide about whole numbers."""
    return int((at - round(at) + 0.42) / 0.84 * bars)


def goals_figure(campaign: Campaign) -> Drawing | None:
    """Image AUROC and pixel AUROC under hide and under fabricate, a row a model, from the value before any attack."""
    values, suite, goals = campaign.values, campaign.white_box, campaign.goals
    metrics = [metric for metric in ("image_auroc", "pixel_auroc") if metric in values.metrics]
    if suite is None or not {"hide", "fabricate"} <= set(goals) or not metrics:
        return None
    shown = {"unattacked": suite.control, "hide": goals["hide"].own, "fabricate": goals["fabricate"].own}
    with panels(len(metrics), len(metrics), 0.85 + 0.27 * len(values.models), sharey=True) as (figure, places):
        for axes, metric in zip(places, metrics, strict=True):
            _goal_panel(axes, values, shown, metric)
        places[0].set_yticks(range(len(values.models)), [values.label(model) for model in values.models])
        places[0].set_ylim(len(values.models) - 0.5, -0.5)
        marks = {key: {"color": "#333333", "ls": "", **mark} for key, mark in _GOAL_MARKS.items()}
        legend(figure, {"before any attack": marks.pop("unattacked"), **marks, "chance": CHANCE_LINE})
    caption = (
        f"Hide and fabricate at {campaign.size}, white-box: each model attacked itself, anomalous images alone towards "
        f"normal maps (hide) or normal images alone towards anomalous maps (fabricate); {mean_words(values)}; "
        f"{count_words(values, shown.values())}.{spread_words(values, shown.values(), 'Bars:')} The images that a "
        "goal does not attack are scored as they were."
    )
    attacks = [(model, goals[goal].own) for goal in ("hide", "fabricate") for model in values.models]
    free = [METRIC_TITLES[name] for name in metrics if not all(campaign.bounds(*each, name) for each in attacks)]
    caption += f" No attack here was after {joined(free)}, so it is not bounded." if free else ""
    alt = "Dots of image AUROC and pixel AUROC of each model before any attack, under hide and under fabricate."
    return Drawing("goals", caption, alt, figure)


def _goal_panel(axes: "Axes", values: Values, shown: dict[str, Condition | None], metric: str) -> None:
    import seaborn as sns

    shades = {values.label(model): colour(model.detector, values.detectors) for model in values.models}
    table = figures_of(values, shown, metric)
    table["row"] = table["model"].map({label: row for row, label in enumerate(shades)})
    axes.axvline(50, **CHANCE_LINE)
    ends = table.groupby(["row", "model", "at"])["value"].mean().groupby(["row", "model"]).agg(["min", "max"])
    for row, label, low, high in ends.reset_index().itertuples(index=False, name=None):
        axes.hlines(row, low, high, color=shades[label], lw=0.8, alpha=0.6)
    # A shift of a ninth of a row keeps two marks at one value apart.
    for key, lift in (("unattacked", 0.0), ("hide", -0.11), ("fabricate", 0.11)):
        part = table[table["at"] == key]
        sns.pointplot(
            part.assign(row=part["row"] + lift), x="value", y="row", orient="y", native_scale=True, hue="model",
            palette=shades, errorbar="sd", err_kws={"lw": 0.7, "zorder": 2}, ls="", legend=False, clip_on=False,
            zorder=3, ax=axes, **_GOAL_MARKS[key],
        )  # fmt: skip
    axes.set(xlim=(-2, 102), xticks=range(0, 101, 25), xlabel=f"{METRIC_TITLES[metric]} (%)", ylabel="")
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)
