"""A table as readers see it, and its writers: CSV, LaTeX (booktabs), Markdown, and plain data for templates."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import Any, Literal

import pandas as pd

from omnial_bench.io.csv import csv_text
from omnial_bench.io.whole import file_name

MINUS, DASH, TIMES = "\u2212", "\u2013", "\u00d7"
Style = Literal["text", "percent", "change", "decibel", "fraction", "count"]

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\u2212": "$-$", "\u2013": "--", "\u00d7": r"$\times$",
    "\u2113": r"$\ell$", "→": r"$\to$", "Δ": r"$\Delta$", "†": r"$^{\dagger}$", "·": r"$\cdot$",
    "≤": r"$\le$", "±": r"$\pm$", "≥": r"$\ge$", "\u2019": "'",
    "…": r"\dots{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of the frame that is shown; neighbours of one `group` stand under it."""

    key: str
    heading: str
    group: str = ""
    style: Style = "percent"
    muted: bool = False
    wide: bool = False
    spread: str = ""
    """Key of the standard deviation that stands behind the value where it is known."""
    interval: str = ""
    """Stem of the keys `_low` and `_high` of an interval, which stands behind the value in its place."""


@dataclass(frozen=True)
class Cell:
    text: str
    strong: bool = False
    muted: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Values (`frame`, as in the rows) and how they are shown.

    Hidden columns of the frame steer: `panel` heads a block of rows; `kind` is `mean` (set apart by a rule), `chance`
    (muted, nothing where undefined) or anything else.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    strong: frozenset[tuple[int, str]] = frozenset()
    marked: frozenset[tuple[int, str]] = frozenset()
    letters: Mapping[tuple[int, str], str] = field(default_factory=dict)
    """Footnote letters behind cells."""
    notes: tuple[tuple[str, str], ...] = ()
    """Footnotes below the table: a letter, and what it says."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", file_name(self.name))

    def row(self, index: int) -> list[Cell]:
        record = self.frame.iloc[index]
        kind = str(record.get("kind", ""))
        cells = []
        for column in self.columns:
            text = show(record[column.key], column.style)
            low, high = (record.get(f"{column.interval}_{end}", math.nan) for end in ("low", "high"))
            if column.interval and text != DASH and not math.isnan(low) and not math.isnan(high):
                text += f" [{show(low, column.style)}, {show(high, column.style)}]"
            elif column.spread and text != DASH and not math.isnan(record[column.spread]):
                text += f" ± {show(record[column.spread], column.style).removeprefix('+')}"
            cells.append(
                Cell(
                    text="" if kind == "chance" and text == DASH else text,
                    strong=(index, column.key) in self.strong,
                    muted=column.muted or kind == "chance",
                    mark="†" if (index, column.key) in self.marked else self.letters.get((index, column.key), ""),
                )
            )
        return cells

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Group headings with the number of columns under each."""
        return [(name, len(list(part))) for name, part in groupby(column.group for column in self.columns)]

    def lines(self) -> list[tuple[str, list[Cell], bool]]:
        """Each row as (heading of the block that it opens or nothing, cells, whether a rule goes before it)."""
        lines, before = [], ""
        for index in range(len(self.frame)):
            panel = str(self.frame.iloc[index].get("panel", ""))
            apart = self.frame.iloc[index].get("kind", "") == "mean" and index > 0
            lines.append((panel if panel != before else "", self.row(index), bool(apart)))
            before = panel
        return lines

    def data(self) -> dict[str, Any]:
        """Plain data for templates."""
        return {
            "name": self.name,
            "groups": [{"text": name, "span": span} for name, span in self.groups],
            "columns": [
                {"heading": column.heading, "text": column.style == "text", "wide": column.wide, "muted": column.muted}
                for column in self.columns
            ],
            "rows": [
                {"panel": panel, "apart": apart, "cells": [vars(cell) for cell in cells]}
                for panel, cells, apart in self.lines()
            ],
            "notes": [{"mark": mark, "text": text} for mark, text in self.notes],
        }


def show(value: object, style: Style) -> str:
    """A value as printed; an undefined one is an en dash."""
    if style == "text":
        return str(value)
    number = float(str(value)) if value is not None else math.nan
    if math.isnan(number):
        return DASH
    if style == "count":
        return f"{number:,.0f}".replace(",", "\u202f")
    if style == "change":
        points = f"{abs(100 * number):.1f}"
        return points if float(points) == 0 else ("+" if number > 0 else MINUS) + points
    text = {"percent": f"{100 * number:.1f}", "decibel": f"{number:.1f}", "fraction": f"{number:.3f}"}[style]
    return text.replace("-", MINUS)


def to_csv(table: Table) -> str:
    """All values of the table, unrounded and as in the rows; undefined ones are empty."""
    return csv_text(table.frame)


def to_markdown(table: Table) -> str:
    """A pipe table; group headings stand before column headings, block headings are rows in bold."""
    heads = [f"{column.group}: {column.heading}" if column.group else column.heading for column in table.columns]
    rows = [heads, [":---" if column.style == "text" else "---:" for column in table.columns]]
    lines = [[markdown_text(cell) for cell in rows[0]], rows[1]]
    for panel, cells, _ in table.lines():
        if panel:
            lines.append([f"**{markdown_text(panel)}**", *[""] * (len(cells) - 1)])
        lines.append([_markdown_cell(cell) for cell in cells])
    notes = "".join(f"\n{_markdown_mark(mark)} {markdown_text(text)}\n" for mark, text in table.notes)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n" + notes


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    mark = _markdown_mark(cell.mark)
    return f"**{text}{mark}**" if cell.strong and text else f"{text}{mark}"


def _markdown_mark(mark: str) -> str:
    return f"<sup>{mark}</sup>" if mark not in ("", "†") else mark


def markdown_text(text: str) -> str:
    """Text with what Markdown or HTML would read as markup escaped, on one line."""
    escaped = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", re.sub(r"[\r\n]", " ", text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def latex_text(text: str) -> str:
    """Text with every character that LaTeX would act on escaped."""
    return "".join(_LATEX.get(char, char) for char in text.replace("\u202f", "\u00a0")).replace("\u00a0", "~")


def to_latex(table: Table) -> str:
    """A `table` environment for the booktabs package, to be pasted into a paper."""
    lines, columns = table.lines(), table.columns
    heads = pd.MultiIndex.from_tuples([(latex_text(column.group), place) for place, column in enumerate(columns)])
    # The styler's own escapes leave out what LaTeX has no glyph for, such as a minus.
    texts = [[latex_text(cell.text) + _latex_mark(cell.mark) for cell in cells] for _, cells, _ in lines]
    strong = [["textbf: --rwrap" if cell.strong else "" for cell in cells] for _, cells, _ in lines]
    styler = pd.DataFrame(texts, columns=heads).style.hide(axis="index")
    styler.apply(lambda _: pd.DataFrame(strong, columns=heads), axis=None)
    styler.format_index(lambda place: latex_text(columns[int(str(place))].heading), axis="columns", level=1)
    groups = _cmidrules(table)
    if not groups:
        styler.hide(axis="columns", level=0)
    drawn = styler.to_latex(
        column_format=f"@{{}}{''.join(map(_latex_align, columns))}@{{}}", environment="table*", hrules=True,
        position_float="centering", multicol_align="c", caption=latex_text(table.caption),
        label=f"tab:{re.sub(r'[^a-z0-9]+', '-', table.name.lower())}",
    ).splitlines()  # fmt: skip
    # It knows neither rules between some rows, nor rows of one cell, nor notes below a table.
    body = drawn.index("\\midrule") + 1
    for number, (panel, _, apart) in reversed(list(enumerate(lines))):
        block = f"\\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\\emph{{{latex_text(panel)}}}}} \\\\"
        opened = ["\\addlinespace"] * (number > 0) + [block] if panel else []
        drawn[body + number : body + number] = opened + ["\\midrule"] * apart
    drawn[body - 2 : body - 2] = groups
    drawn[-1:-1] = [
        f"\\par\\footnotesize\\raggedright {_latex_mark(mark)}~{latex_text(text)}" for mark, text in table.notes
    ]
    drawn[2:2] = [r"\footnotesize\setlength{\tabcolsep}{3pt}" if len(columns) > 10 else r"\small"]
    return "\n".join(["% needs \\usepackage{booktabs}", *drawn]) + "\n"


def _cmidrules(table: Table) -> list[str]:
    """The line of rules below the groups, where there are any."""
    ends = accumulate(span for _, span in table.groups)
    rules = [
        f"\\cmidrule(lr){{{end - span + 1}-{end}}}"
        for (name, span), end in zip(table.groups, ends, strict=True)
        if name
    ]
    return [" ".join(rules)] if rules else []


def _latex_mark(mark: str) -> str:
    return f"\\textsuperscript{{{mark}}}" if mark not in ("", "†") else latex_text(mark)


def _latex_align(column: Column) -> str:
    if column.wide:
        return r"p{0.2\textwidth}"
    return "l" if column.style == "text" else "r"
