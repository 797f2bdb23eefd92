"""The sections of a report that the test suites fill, in their order. No torch here."""

from collections.abc import Callable, Iterable
from typing import Any

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.corruptions import corruption_table
from omnial_bench.reports.curves import curve_figure, curve_table, curves
from omnial_bench.reports.drawing import Drawing
from omnial_bench.reports.goals import goals_figure
from omnial_bench.reports.health import health_table
from omnial_bench.reports.losses import loss_figure, loss_suites
from omnial_bench.reports.table import Table
from omnial_bench.reports.transfer import transfer_figure, transfer_table
from omnial_bench.reports.white_box import attacks_table, white_box_table

Items = list[dict[str, Any]]
AddTable = Callable[[Table | None, str], Items]
AddFigures = Callable[[Iterable[Drawing | None], str], Items]


def sections(campaign: Campaign, table: AddTable, figures: AddFigures) -> list[tuple[str, Items]]:
    """Titles with items; `table` and `figures` write what is made, number it, and note what is missing."""
    white_box: Items = []
    if campaign.goals:
        white_box += table(
            white_box_table(campaign), "the table of the white-box attacks: none of its metrics in the rows"
        )
        if {"hide", "fabricate"} <= set(campaign.goals):
            white_box += figures([goals_figure(campaign)], "hide and fabricate side by side: no AUROC in the rows")
    curved: Items = []
    for name, suite, curve in curves(campaign):
        curved += figures([curve_figure(campaign, name, suite, curve)], f"{name}: none of its metrics in the rows")
        curved += table(curve_table(campaign, name, suite, curve), f"the table of {name}")
    each: Items = []
    if (made := attacks_table(campaign)) is not None:
        each += table(made, "")
    for suite in loss_suites(campaign):
        each += figures(
            [loss_figure(campaign, suite)], f"the objective along the steps of {suite.name}: no losses in attacks.csv"
        )
    moved: Items = []
    for suite, trial in campaign.transfers:
        moved += figures([transfer_figure(campaign, suite, trial)], f"transfer of {trial.set}: no pixel AUROC")
        moved += table(transfer_table(campaign, suite, trial), f"the table of transfer of {trial.set}")
    corrupted = table(corruption_table(campaign), "common corruptions: no AUROC") if campaign.corruptions else []
    checked = table(health_table(campaign), "the checks of the attacks' health: no health.csv")
    return [
        ("White-box attacks", white_box),
        ("Robustness against size", curved),
        ("Attack by attack", each),
        ("Transfer between models", moved),
        ("Common corruptions", corrupted),
        ("Health of the attacks", checked),
    ]
