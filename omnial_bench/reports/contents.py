"""What a report holds: its sections in their order, and the tables and figures of each. No torch here."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omnial_bench.reports import example_images, loss_curves, making, origins, plots
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.categories import by_category, by_condition, panel_comparison
from omnial_bench.reports.corruptions import corruption_figures, corruption_table, pairs_in, shifted_table
from omnial_bench.reports.curves import curve_figure, curve_table, curves
from omnial_bench.reports.extremes import extremes
from omnial_bench.reports.families import family_table
from omnial_bench.reports.headline import every_metric, headline, pairs_table
from omnial_bench.reports.matrix import transfer_figure, transfer_table
from omnial_bench.reports.plots import goals_figure
from omnial_bench.reports.style import Drawing
from omnial_bench.reports.table import Table
from omnial_bench.reports.white_box import attacks_table, white_box_table
from omnial_bench.results import HEADLINE, read_logs

IMAGES = "Images"
NO_HEADLINE = "the headline: no image AUROC, pixel AUROC or pixel AP in the rows"


class Part(NamedTuple):
    """A table, a figure or several of one kind."""

    section: str
    content: Table | Drawing | Sequence[Drawing] | None
    missing: str
    """What is said where there is nothing of it."""


def parts(run: Path, campaign: Campaign, *, opened: str) -> Iterator[Part]:
    """Each part as it is asked for; `opened` is the name of the table that the report opens with."""
    values = campaign.fixed
    if len(campaign.values.judged) > 1:
        yield Part("Pairs of models", pairs_table(campaign), "pairs of models: none in differences.csv")
    if campaign.evaluations:
        yield from _under_suites(campaign)
    yield from _on_fixed_sets(run, campaign, opened=opened)
    lacking = "reconstruction quality: no PSNR and SSIM in the rows"
    yield Part("Reconstruction", plots.reconstruction(values), lacking)
    for metric in HEADLINE:
        if metric in values.metrics and values.clean:
            yield Part("Clean test by category", by_category(values, metric), f"{metric} by category")
    if values.parts_of(values.clean):
        yield Part("Clean test by condition", by_condition(values), "the clean test by condition: no AUROC")
    if panels := panel_comparison(values):
        yield Part("Clean test by category", panels, "")
    yield from _images(run, campaign)
    logs, models = read_logs(run), origins.read_models(run)
    yield Part("Training", loss_curves.training(logs, values), "training curves: no log.csv under models/")
    yield Part("Training", making.settings_table(values, models), "training settings: no recipe.toml under models/")
    yield Part("Every metric", every_metric(values, campaign.environment.metrics), "the table of every metric")


def _under_suites(campaign: Campaign) -> Iterator[Part]:
    section = "White-box attacks"
    if campaign.goals:
        lacking = "the table of the white-box attacks: none of its metrics in the rows"
        yield Part(section, white_box_table(campaign), lacking)
    if {"hide", "fabricate"} <= set(campaign.goals):
        yield Part(section, goals_figure(campaign), "hide and fabricate side by side: no AUROC in the rows")
    if attacked := by_condition(campaign.values, campaign):
        yield Part(section, attacked, "")
    section = "Robustness against size"
    for name, suite, curve in curves(campaign):
        yield Part(section, curve_figure(campaign, name, suite, curve), f"{name}: none of its metrics in the rows")
        yield Part(section, curve_table(campaign, name, suite, curve), f"the table of {name}")
    section = "Attack by attack"
    if attacks := attacks_table(campaign):
        yield Part(section, attacks, "")
    for suite in loss_curves.loss_suites(campaign):
        lacking = f"the objective along the steps of {suite.name}: no losses in attacks.csv"
        yield Part(section, loss_curves.loss_figure(campaign, suite), lacking)
    section = "Transfer between models"
    for suite, trial in campaign.transfers:
        yield Part(section, transfer_figure(campaign, suite, trial), f"transfer of {trial.set}: no pixel AUROC")
        if kinds := family_table(campaign, suite, trial):
            yield Part(section, kinds, "")
        yield Part(section, transfer_table(campaign, suite, trial), f"the table of transfer of {trial.set}")
    section = "Common corruptions"
    if campaign.corruptions:
        yield Part(section, corruption_figures(campaign), "common corruptions: none of their metrics")
    for end in pairs_in(campaign):
        if campaign.corruptions:
            yield Part(section, corruption_table(campaign, end), "")
        if campaign.shifted:
            yield Part(section, shifted_table(campaign, end), "")
    yield Part(
        "Health of the attacks", making.health_table(campaign), "the checks of the attacks' health: no health.csv"
    )


def _on_fixed_sets(run: Path, campaign: Campaign, *, opened: str) -> Iterator[Part]:
    values, sets = campaign.fixed, origins.read_sets(run)
    section = "Localisation" if not values.attacks else "Fixed sets" if campaign.evaluations else "Under attack"
    if opened != "headline":
        yield Part(section, headline(values), NO_HEADLINE)
    if values.sets:
        yield Part(section, making.sets_table(values, sets), "the table of the sets: no manifests under sets/")
    yield Part(section, plots.localisation(values), "localisation under attack: no pixel metrics in the rows")
    if values.attacks:
        yield Part(section, plots.drops(values), "changes by category: no control among the rows")
        yield Part(section, loss_curves.attack_loss(sets, values), "the attacked loss: no manifest holds one")


def _images(run: Path, campaign: Campaign) -> Iterator[Part]:
    examples, values = example_images.Examples(run / "examples"), campaign.fixed
    lacking = "detections: no images of the clean test in examples/"
    yield Part(IMAGES, example_images.detections(examples, values), lacking)
    if values.attacks:
        yield Part(IMAGES, example_images.under_attack(examples, values), "images under attack: none in examples/")
    if campaign.white_box:
        lacking = "strongest and weakest images: none noted in examples/index.csv"
        yield Part(IMAGES, extremes(examples, campaign), lacking)
    yield Part(IMAGES, example_images.gallery(examples, values), "synthetic anomalies: none in examples/")
