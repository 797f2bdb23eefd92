"""The report: Markdown, a typeset PDF and a self-contained HTML page, from one context. No torch here."""

import base64
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from omnial_bench.config.load import read_plan
from omnial_bench.errors import unknown
from omnial_bench.io.links import check_links
from omnial_bench.io.whole import make_folder, whole, write_text
from omnial_bench.reports import example_images, loss_curves, making, origins, plots
from omnial_bench.reports.campaign import Campaign, campaign_of
from omnial_bench.reports.categories import BY_CATEGORY, by_category, panel_comparison
from omnial_bench.reports.curves import corruption_table, curve_figure, curve_table, curves
from omnial_bench.reports.doubts import health_table
from omnial_bench.reports.extremes import extremes
from omnial_bench.reports.findings import findings, limits
from omnial_bench.reports.goals import goals_figure
from omnial_bench.reports.headline import every_metric, headline
from omnial_bench.reports.lessons import caveats, lessons
from omnial_bench.reports.loss_curves import loss_figure, loss_suites
from omnial_bench.reports.matrix import transfer_figure, transfer_table
from omnial_bench.reports.opening import opening
from omnial_bench.reports.origins import read_health, unlearnt_of
from omnial_bench.reports.pairs import pairs_table
from omnial_bench.reports.style import Drawing, save
from omnial_bench.reports.table import Table, markdown_text, to_csv, to_latex, to_markdown
from omnial_bench.reports.values import Values
from omnial_bench.reports.white_box import attacks_table, white_box_table
from omnial_bench.results import read_differences, read_rows

FORMATS = ("md", "pdf", "html")
TEMPLATES = Path(__file__).parent / "templates"
Items = list[dict[str, Any]]
AddTable = Callable[[Table | None, str], Items]
AddFigures = Callable[[Iterable[Drawing | None], str], Items]


def write_report(
    run: Path, formats: Sequence[str] = FORMATS, *, seed: int | None = None, tell: Callable[[str], object] | None = None
) -> list[Path]:
    """Write the report of a run folder with its figures and tables, and say which documents were written.

    `seed` keeps the rows of one seed. `tell` hears of each part that is left out, and why. The same folder gives the
    same bytes. UserError where the folder holds no rows or a link, where one of its files is broken, or for an unknown
    format.
    """
    check_links(run)
    for name in formats:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    rows = read_rows(run)
    if seed is not None:
        rows = rows[rows["seed"] == seed]
    campaign = campaign_of(run, rows, seed=seed)
    values = campaign.fixed if campaign else Values(
        rows, unlearnt_of(read_health(run)), read_differences(run), origins.read_environment(run).detectors
    )  # fmt: skip
    make_folder(run / "figures")
    context = build_context(run, values, campaign)
    if tell is not None:
        for line in context["left_out"]:
            tell(line)
    writers: dict[str, Callable[[dict[str, Any], Path], None]] = {"md": _markdown, "pdf": _pdf, "html": _html}
    written = []
    for name in dict.fromkeys(formats):
        writers[name](context, run)
        written.append(run / f"report.{name}")
    return written


def build_context(run: Path, values: Values, campaign: Campaign | None = None) -> dict[str, Any]:
    """What every format says, as plain data; the figures and tables that it names are written to the run folder.

    `values` are those of the clean test and the fixed sets, `campaign` holds the test suites.
    """
    environment, made_sets = origins.read_environment(run), origins.read_sets(run)
    logs, made_models = origins.read_logs(run), origins.read_models(run)
    examples = example_images.Examples(run / "examples")
    notice = environment.notice
    numbers = {"table": 0, "figure": 0}
    left_out: list[str] = []

    def table(content: Table | None, missing: str) -> list[dict[str, Any]]:
        if content is None or content.frame.empty:
            left_out.append(missing)
            return []
        write_text(run / "tables" / f"{content.name}.csv", to_csv(content))
        write_text(run / "tables" / f"{content.name}.tex", to_latex(content))
        numbers["table"] += 1
        shown = {
            "kind": "table",
            "number": numbers["table"],
            "caption": content.caption,
            "markdown": to_markdown(content),
        }
        return [{**shown, "table": content.data()}]

    def figures(drawings: Iterable[Drawing | None], missing: str, notice: str = "") -> list[dict[str, Any]]:
        shown = [_figure(run, drawing, numbers, notice) for drawing in drawings if drawing is not None]
        if not shown:
            left_out.append(missing)
        return shown

    first, missing = opening(values, campaign), "the headline: no image AUROC, pixel AUROC or pixel AP in the rows"
    head = table(first.table, missing)
    several = len((campaign.values if campaign else values).judged) > 1
    apart = table(pairs_table(values, campaign), "pairs of models: none in differences.csv") if several else []
    robust = _robust_sections(campaign, table, figures) if campaign else []
    attack = table(headline(values), missing) if first.table.name != "headline" else []
    if values.sets:
        attack += table(making.sets_table(values, made_sets), "the table of the sets: no manifests under sets/")
    attack += figures([plots.localisation(values)], "localisation under attack: no pixel metrics in the rows")
    if values.attacks:
        attack += figures([plots.drops(values)], "changes by category: no control among the rows")
        attack += figures([loss_curves.attack_loss(made_sets, values)], "the attacked loss: no manifest holds one")
    quality = figures([plots.reconstruction(values)], "reconstruction quality: no PSNR and SSIM in the rows")
    clean = [
        item
        for metric in BY_CATEGORY
        if metric in values.metrics and values.clean
        for item in table(by_category(values, metric), f"{metric} by category")
    ]
    panels = panel_comparison(values)
    clean += table(panels, "") if panels is not None else []
    seen = figures(
        example_images.detections(examples, values), "detections: no images of the clean test in examples/", notice
    )
    if values.attacks:
        seen += figures(example_images.under_attack(examples, values), "images under attack: none in examples/", notice)
    if campaign and campaign.white_box:
        noted = extremes(examples, campaign)
        seen += figures(noted, "strongest and weakest images: none noted in examples/index.csv", notice)
    seen += figures(example_images.gallery(examples, values), "synthetic anomalies: none in examples/", notice)
    trained = figures([loss_curves.training(logs, values)], "training curves: no log.csv under models/")
    trained += table(making.settings_table(values, made_models), "training settings: no recipe.toml under models/")
    every = table(every_metric(values, environment.metrics), "the table of every metric")
    sections = [
        ("Pairs of models", apart),
        *robust,
        (("Fixed sets" if robust else "Under attack") if values.attacks else "Localisation", attack),
        ("Reconstruction", quality),
        ("Clean test by category", clean),
        ("Images", seen),
        ("Training", trained),
        ("Every metric", every),
    ]
    return {
        "title": _title(run, values),
        "subtitle": _subtitle(values),
        "unfinished": origins.unfinished(run),
        "finding": list(first.finding),
        "headline": head,
        "sure": list(first.sure),
        "points": lessons(campaign) if campaign else [],
        "findings": [line for line in findings(values) if line not in first.finding],
        "limits": [*environment.notes, *limits(values)] + (caveats(campaign) if campaign else []),
        "sections": [{"title": name, "items": items} for name, items in sections if items],
        "left_out": left_out,
        "facts": _facts(environment, values),
        "versions": [list(pair) for pair in environment.versions.items()],
        "notice": notice or None,
        "cite": _cite(environment),
    }


def _robust_sections(campaign: Campaign, table: AddTable, figures: AddFigures) -> list[tuple[str, Items]]:
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
    if (listing := attacks_table(campaign)) is not None:
        each += table(listing, "")
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


def _figure(run: Path, drawing: Drawing, numbers: dict[str, int], notice: str) -> dict[str, Any]:
    save(drawing, run / "figures")
    numbers["figure"] += 1
    # Plots are sharpest as vectors; images are pixels either way, and smaller as one PNG.
    vector = not drawing.name.startswith(("pictures_", "synthesis_"))
    return {
        "kind": "figure",
        "number": numbers["figure"],
        "caption": f"{drawing.caption} {notice.rstrip('.')}." if notice else drawing.caption,
        "alt": drawing.alt,
        "png": f"figures/{drawing.name}.png",
        "svg": f"figures/{drawing.name}.svg",
        "file": f"figures/{drawing.name}.{'svg' if vector else 'png'}",
        "width": round(float(drawing.figure.get_size_inches()[0]), 3),
    }


def _title(run: Path, values: Values) -> str:
    plan = run / "plan.toml"
    return read_plan(str(plan)).title if plan.is_file() else f"Anomaly localisation under attack on {values.dataset}"


def _subtitle(values: Values) -> str:
    presets = ", ".join(dict.fromkeys(model.preset for model in values.models))
    names = values.categories if len(values.categories) <= 6 else (f"{len(values.categories)} categories",)
    return f"Data set {values.dataset} ({', '.join(names)}); preset {presets}"


def _facts(environment: origins.Environment, values: Values) -> list[list[str]]:
    names = ("fingerprint", *origins.FACTS)
    return [["data set", values.dataset], *([name, environment.facts[name] or "not recorded"] for name in names)]


def _cite(environment: origins.Environment) -> str:
    version = environment.versions.get("omnial-bench", "")
    name = f"omnial-bench {version}".rstrip()
    return (
        f"How to cite: The omnial-bench authors, {name}: robustness benchmark for unsupervised industrial anomaly "
        "localisation (CITATION.cff); and the papers of the detectors and of the data."
    )


def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: bool(name and "html" in name),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = markdown_text
    return environment


def _markdown(context: dict[str, Any], run: Path) -> None:
    write_text(run / "report.md", _templates().get_template("report.md.j2").render(context))


def _html(context: dict[str, Any], run: Path) -> None:
    def embed(path: str) -> str:
        kind = "image/svg+xml" if path.endswith(".svg") else "image/png"
        return f"data:{kind};base64,{base64.b64encode((run / path).read_bytes()).decode('ascii')}"

    write_text(run / "report.html", _templates().get_template("report.html.j2").render(context, embed=embed))


def _pdf(context: dict[str, Any], run: Path) -> None:
    """Typeset with the fonts inside the typst package; text reaches the template as data and is never markup."""
    import typst

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(TEMPLATES / "report.typ", folder / "report.typ")
        (folder / "data.json").write_text(json.dumps(context, allow_nan=False), encoding="utf-8")
        (folder / "figures").mkdir()
        for section in context["sections"]:
            for item in (item for item in section["items"] if item["kind"] == "figure"):
                shutil.copy(run / item["file"], folder / item["file"])
        pdf: bytes = typst.compile(folder / "report.typ", root=folder, ignore_system_fonts=True, timestamp=0)
    with whole(run / "report.pdf") as aside:
        aside.write_bytes(pdf)
