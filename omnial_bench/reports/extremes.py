"""The images that an attack harmed most and least, side by side. No torch here."""

import re
from itertools import chain

import pandas as pd

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.example_images import Examples, amplification, amplified, families, first_image, of_models
from omnial_bench.reports.grid import Cell, lay_out
from omnial_bench.reports.style import Drawing, paper_style
from omnial_bench.reports.suites import Evaluation, Trial
from omnial_bench.reports.table import TIMES

NOTES = ("strongest", "weakest")
_SETS, _ROWS = 3, 8
_WIDTH = 0.58
"""Inches of an image at the most, so that two figures of six rows stand on a page."""
Row = tuple[str, dict[str, pd.DataFrame]]


def extremes(examples: Examples, campaign: Campaign) -> list[Drawing]:
    """One figure a white-box threat and paradigm: rows are models and categories, the strongest beside the weakest."""
    if "note" not in examples.index.columns:
        return []
    noted = examples.index[examples.index["note"].isin(NOTES)]
    drawings = []
    for suite, trial in _chosen(campaign, set(noted["set"])):
        for paradigm, models, part in families(examples, campaign.values):
            rows = _rows(noted[noted["set"] == trial.set], models)
            if not rows:
                continue
            changes = (examples.change(shown) for _, pair in rows for shown in pair.values())
            amplify = amplification(changes) or 1
            heads = ("before", "attacked", f"change {TIMES} {amplify}", "map")
            cells = [chain(*(_cells(examples, pair[note], amplify) for note in NOTES)) for _, pair in rows]
            lines = [(label, list(line)) for (label, _), line in zip(rows, cells, strict=True)]
            sample = next(shown for _, pair in rows for shown in pair.values() if len(shown))
            with paper_style():
                tops = [("harmed most", len(heads)), ("harmed least", len(heads))]
                figure = lay_out(lines, heads * 2, tops, aspect=examples.aspect(sample), most=_WIDTH).done()
            caption = (
                f"{suite.title(trial)}, white-box, {paradigm} models: the image of each model and category that the "
                "attack on that very model harmed most (left) and least (right). Before the attack and attacked, with "
                f"the contour of the ground truth (green); the change {TIMES} {amplify}, centred on grey; the anomaly "
                "map of the attacked image, on the same scale [0, 1] throughout. Nothing is averaged."
            )
            name = f"images_extremes_{re.sub(r'[^A-Za-z0-9.-]+', '-', trial.set)}_{paradigm}{part}"
            drawings.append(Drawing(name, caption, f"Images that {trial.set} harmed most and least.", figure))
    return drawings


def _chosen(campaign: Campaign, sets: set[str]) -> list[tuple[Evaluation, Trial]]:
    """Noted threats: those of the white-box table or, where it has none, others."""
    first = [trial.set for trial in campaign.goals.values()]
    noted = [(suite, trial) for suite in campaign.evaluations for trial in suite.own if trial.set in sets]
    table = [pair for pair in noted if pair[1].set in first]
    return sorted(table, key=lambda pair: first.index(pair[1].set)) or noted[:_SETS]


def _rows(noted: pd.DataFrame, models: dict[str, str]) -> list[Row]:
    categories = sorted(set(noted["category"]))[: max(1, _ROWS // max(1, len(models)))]
    rows: list[Row] = []
    for name, title in models.items():
        mine = of_models(noted, [name])
        for category in categories:
            here = mine[mine["category"] == category]
            pair = {note: first_image(here[here["note"] == note]) for note in NOTES}
            if any(len(shown) for shown in pair.values()):
                rows.append((f"{title}\n{category}", pair))
    return rows


def _cells(examples: Examples, rows: pd.DataFrame, amplify: int) -> list[Cell]:
    truth, change = examples.image(rows, "truth"), amplified(examples.change(rows), amplify)
    return [
        *(Cell(examples.image(rows, role), truth, none="none") for role in ("original", "input")),
        Cell(change, none="none"), Cell(examples.image(rows, "map"), scale=True, none="none"),
    ]  # fmt: skip
