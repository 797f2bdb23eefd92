"""A table as readers see it, and its writers: CSV, LaTeX (booktabs), Markdown, and plain data for templates."""

import math
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
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
    bare: bool = False
    """Neither interval nor standard deviation stands behind the value."""


@dataclass(frozen=True)
class Cell:
    text: str
    strong: bool
    muted: bool
    mark: str


@dataclass(frozen=True)
class Table:
    """Values (`frame`, as in the rows) and how they are shown.

    Behind a value stand the ends of its interval, the columns `_low` and `_high` after its key, where both are known,
    else its standard deviation, `_sd`. Hidden columns steer: `panel` heads a block of rows; `kind` is `mean` (set apart
    by a rule), `chance` (muted, nothing where undefined) or anything else.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    strong: frozenset[tuple[int, str]] = frozenset()
    letters: Mapping[tuple[int, str], str] = field(default_factory=dict)
    """Footnote letters behind cells, or a dagger."""
    notes: tuple[tuple[str, str], ...] = ()
    """Footnotes below the table: a letter, and what it says."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", file_name(self.name))

    def _cells(self, index: int, record: Mapping[Hashable, Any]) -> list[Cell]:
        chance, cells = record.get("kind", "") == "chance", []
        for column in self.columns:
            place, text = (index, column.key), show(record[column.key], column.style)
            low, high, spread = (record.get(f"{column.key}_{end}", math.nan) for end in ("low", "high", "sd"))
            if text == DASH or column.bare:
                text = "" if chance and text == DASH else text
            elif not math.isnan(low + high):
                text += f" [{show(low, column.style)}, {show(high, column.style)}]"
            elif not math.isnan(spread):
                text += f" ± {show(spread, column.style).removeprefix('+')}"
            cells.append(Cell(text, place in self.strong, column.muted or chance, self.letters.get(place, "")))
        return cells

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Group headings with the number of columns under each."""
        return [(name, len(list(part))) for name, part in groupby(column.group for column in self.columns)]

    def lines(self) -> list[tuple[str, list[Cell], bool]]:
        """Each row as (heading of the block that it opens or nothing, cells, whether a rule goes before it)."""
        lines, before = [], ""
        for index, record in enumerate(self.frame.to_dict("records")):
            panel, apart = str(record.get("panel", "")), record.get("kind", "") == "mean" and index > 0
            lines.append((panel if panel != before else "", self._cells(index, record), apart))
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
    lines = [list(map(markdown_text, heads)), [":---" if each.style == "text" else "---:" for each in table.columns]]
    for panel, cells, _ in table.lines():
        if panel:
            lines.append([f"**{markdown_text(panel)}**", *[""] * (len(cells) - 1)])
        lines.append([_markdown_cell(cell) for cell in cells])
    notes = "".join(f"\n{_markdown_mark(mark)} {markdown_text(text)}\n" for mark, text in table.notes)
    return f"{pipe_lines(lines)}\n{notes}"


def pipe_lines(lines: Iterable[Iterable[str]]) -> str:
    """Cells as the lines of a pipe table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text) + _markdown_mark(cell.mark)
    return f"**{text}**" if cell.strong and cell.text else text


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
    width, end = len(table.columns), 0
    spans, rules, body = [], [], []
    for name, span in table.groups:
        end += span
        spans.append(f"\\multicolumn{{{span}}}{{c}}{{{latex_text(name)}}}" if span > 1 else latex_text(name))
        rules += [f"\\cmidrule(lr){{{end - span + 1}-{end}}}"] if name else []
    body += [_latex_line(spans), " ".join(rules)] if rules else []
    body += [_latex_line([latex_text(column.heading) for column in table.columns]), "\\midrule"]
    for number, (panel, cells, apart) in enumerate(table.lines()):
        if panel:
            body += ["\\addlinespace"] * (number > 0)
            body.append(f"\\multicolumn{{{width}}}{{@{{}}l}}{{\\emph{{{latex_text(panel)}}}}} \\\\")
        body += ["\\midrule"] * apart + [_latex_line(map(_latex_cell, cells))]
    label, align = re.sub(r"[^a-z0-9]+", "-", table.name.lower()), "".join(map(_latex_align, table.columns))
    lines = [
        "% needs \\usepackage{booktabs}", "\\begin{table*}", "\\centering",
        r"\footnotesize\setlength{\tabcolsep}{3pt}" if width > 10 else "\\small",
        f"\\caption{{{latex_text(table.caption)}}}", f"\\label{{tab:{label}}}",
        f"\\begin{{tabular}}{{@{{}}{align}@{{}}}}", "\\toprule", *body, "\\bottomrule", "\\end{tabular}",
        *(f"\\par\\footnotesize\\raggedright {_latex_mark(mark)}~{latex_text(text)}" for mark, text in table.notes),
        "\\end{table*}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _latex_line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(cell: Cell) -> str:
    text = latex_text(cell.text) + _latex_mark(cell.mark)
    return f"\\textbf{{{text}}}" if cell.strong else text


def _latex_mark(mark: str) -> str:
    return f"\\textsuperscript{{{mark}}}" if mark not in ("", "†") else latex_text(mark)


def _latex_align(column: Column) -> str:
    if column.wide:
        return r"p{0.2\textwidth}"
    return "l" if column.style == "text" else "r"
