"""The report: Markdown, a typeset PDF and a self-contained HTML page, from one context. No torch here."""

import base64
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from omnial_bench.config.load import read_plan
from omnial_bench.errors import unknown
from omnial_bench.io.links import check_links
from omnial_bench.io.whole import make_folder, whole, write_text
from omnial_bench.provenance import NOT_INSTALLED
from omnial_bench.reports import origins
from omnial_bench.reports.campaign import Campaign, campaign_of
from omnial_bench.reports.contents import IMAGES, NO_HEADLINE, Part, parts
from omnial_bench.reports.findings import findings, limits
from omnial_bench.reports.lessons import caveats, lessons
from omnial_bench.reports.opening import opening
from omnial_bench.reports.style import Drawing, save
from omnial_bench.reports.table import Table, markdown_text, to_csv, to_latex, to_markdown
from omnial_bench.results import read_rows

FORMATS = ("md", "pdf", "html")
TEMPLATES = Path(__file__).parent / "templates"


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
    make_folder(run / "figures")
    context = build_context(run, campaign)
    if tell is not None:
        for line in context["left_out"]:
            tell(line)
    written = {name: run / f"report.{name}" for name in formats}
    for name, path in written.items():
        if name == "pdf":
            _typeset(context, run)
        else:
            _render(context, path)
    return list(written.values())


def build_context(run: Path, campaign: Campaign) -> dict[str, Any]:
    """What every format says, as plain data; the figures and tables that it names are written to the run folder."""
    environment, first, values = campaign.environment, opening(campaign), campaign.fixed
    plan, presets = run / "plan.toml", dict.fromkeys(model.preset for model in values.models)
    title = read_plan(str(plan)).title if plan.is_file() else f"Anomaly localisation under attack on {values.dataset}"
    names = values.categories if len(values.categories) <= 6 else (f"{len(values.categories)} categories",)
    facts = [[name, environment.facts[name] or "not recorded"] for name in ("fingerprint", *origins.FACTS)]
    version = environment.versions.get("omnial-bench", NOT_INSTALLED)
    cited = "" if version == NOT_INSTALLED else f", omnial-bench {version}"
    numbers: Counter[str] = Counter()
    left_out: list[str] = []
    sections: dict[str, list[dict[str, Any]]] = {}
    opened = Part("", first.table, NO_HEADLINE)
    for section, content, missing in chain([opened], parts(run, campaign, opened=first.table.name)):
        notice = environment.notice if section == IMAGES else ""
        items = _items(run, content, numbers, notice)
        sections.setdefault(section, []).extend(items)
        left_out += [] if items else [missing]
    return {
        "title": title,
        "subtitle": f"Data set {values.dataset} ({', '.join(names)}); preset {', '.join(presets)}",
        "unfinished": origins.unfinished(run),
        "finding": list(first.finding),
        "headline": sections.pop(""),
        "sure": list(first.sure),
        "points": lessons(campaign),
        "findings": [line for line in findings(values) if line not in first.finding],
        "limits": [*environment.notes, *limits(values), *caveats(campaign)],
        "sections": [{"title": name, "items": items} for name, items in sections.items() if items],
        "left_out": left_out,
        "facts": [["data set", values.dataset], *facts],
        "versions": [list(pair) for pair in environment.versions.items()],
        "notice": environment.notice or None,
        "cite": f"How to cite: The omnial-bench authors{cited}: robustness benchmark for unsupervised industrial "
        "anomaly localisation (CITATION.cff); and the papers of the detectors and of the data.",
    }


def _items(
    run: Path, content: Table | Drawing | Sequence[Drawing] | None, numbers: Counter[str], notice: str
) -> list[dict[str, Any]]:
    """What a part comes to, numbered and written to its files; nothing where it is empty."""
    if isinstance(content, Table):
        return [] if content.frame.empty else [_table(run, content, numbers)]
    drawings = [content] if isinstance(content, Drawing) else content or []
    return [_figure(run, drawing, numbers, notice) for drawing in drawings]


def _table(run: Path, table: Table, numbers: Counter[str]) -> dict[str, Any]:
    write_text(run / "tables" / f"{table.name}.csv", to_csv(table))
    write_text(run / "tables" / f"{table.name}.tex", to_latex(table))
    numbers["table"] += 1
    facts = {"kind": "table", "number": numbers["table"], "caption": table.caption}
    return {**facts, "markdown": to_markdown(table), "table": table.data()}


def _figure(run: Path, drawing: Drawing, numbers: Counter[str], notice: str) -> dict[str, Any]:
    save(drawing, run / "figures")
    numbers["figure"] += 1
    # Plots are sharpest as vectors; images are pixels either way, and smaller as one PNG.
    vector = not drawing.name.startswith(("images_", "synthesis_"))
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


def _render(context: dict[str, Any], report: Path) -> None:
    """Fill in the template of a Markdown or HTML document; the latter holds its figures."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    def embed(path: str) -> str:
        kind = "image/svg+xml" if path.endswith(".svg") else "image/png"
        return f"data:{kind};base64,{base64.b64encode((report.parent / path).read_bytes()).decode('ascii')}"

    templates = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=lambda name: bool(name and "html" in name),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters["md"] = markdown_text
    write_text(report, templates.get_template(f"{report.name}.j2").render(context, embed=embed))


def _typeset(context: dict[str, Any], run: Path) -> None:
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
