"""A comparison with a baseline as other programs read it: JUnit XML, and Markdown for a summary. No torch here."""

import re
from collections.abc import Hashable, Mapping
from itertools import groupby
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from omnial_bench.metrics.metric import metric_of
from omnial_bench.reports.table import DASH, MINUS, markdown_text, pipe_lines
from omnial_bench.reports.verdicts import FAILING, NOT_HELD, UNMOVED, VERDICTS, failed, moved, summary

SHOWN = 300
"""Lines of the Markdown table at the most: a page of a build has room for about a megabyte."""
MEANS = (
    "Means over several seeds may move by what the spread over the baseline's seeds lets one run in a hundred exceed."
)
UNHELD = "Not held: what an attack does not go for, and single categories of networks trained anew."
FIGURES = ("baseline", "now", "change", "tolerance")
"""Heads of the columns of numbers."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FIGURE = ("metric", "category", "dataset", "preset", "set", "threat", "source")
_BASE = ("detector", "paradigm", "category", "set", "metric")

Row = Mapping[Hashable, Any]


def junit(judged: pd.DataFrame) -> str:
    """JUnit XML: a suite for each detector and paradigm, a case for every figure that was compared.

    A regression, a missing row and a figure of other images are failures of that type; what improved or is new says
    so in its case's output.
    """
    records = sorted(judged.to_dict("records"), key=lambda row: (_suite(row), VERDICTS.index(row["verdict"])))
    failures = sum(row["verdict"] in FAILING for row in records)
    root = ElementTree.Element("testsuites", _counted("omnial-bench check", len(records), failures))
    for name, group in groupby(records, _suite):
        rows = list(group)
        failures = sum(row["verdict"] in FAILING for row in rows)
        suite = ElementTree.SubElement(root, "testsuite", {**_counted(name, len(rows), failures), "skipped": "0"})
        for row in rows:
            # Complete, so that no two cases of a suite share their names.
            figure = ", ".join([*(str(row[key]) for key in _FIGURE), f"seed {seed_words(row)}"])
            facts = {"classname": _xml(name), "name": _xml(figure), "time": "0"}
            case, verdict = ElementTree.SubElement(suite, "testcase", facts), row["verdict"]
            move = (
                f"baseline {row['baseline']:.6g}, now {row['value']:.6g}, change {row['change']:+.6g}, "
                f"tolerance {row['tolerance']:.3g}"
            )
            outcome = _xml(f"{verdict}: {move}")
            if verdict in FAILING:
                failure = ElementTree.SubElement(case, "failure", {"type": verdict, "message": outcome})
                failure.text = f"{outcome}\n{facts['name']}"
            elif verdict != UNMOVED:
                ElementTree.SubElement(case, "system-out").text = outcome
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def markdown(judged: pd.DataFrame, baseline: str, note: str = "") -> str:
    """A verdict, counts, what moved with what fails first, and the tolerances; `baseline` is its name, `note` a line.

    At most `SHOWN` lines of what moved, and how many more there are.
    """
    changed = moved(judged)
    verdict = "failed" if failed(judged) else "passed"
    compared = f"{len(judged)} figures compared with {markdown_text(baseline)}"
    lines = [f"## omnial-bench check: {verdict}", "", f"**{verdict.upper()}**: {summary(judged)}; {compared}.", ""]
    lines += [markdown_text(note), ""] if note else []
    lines += [_moved_table(changed), ""] if len(changed) else []
    if len(changed) > SHOWN:
        lines += [f"{len(changed) - SHOWN} more moved; the table shows the first {SHOWN}.", ""]
    table = [["metric", "tolerance"], [":---", "---:"]]
    for metric, tolerances in judged.groupby("metric")["tolerance"]:
        ends = [f"{end:.3g}" for end in (tolerances.min(), tolerances.max())]
        table.append([markdown_text(str(metric)), " to ".join(dict.fromkeys(ends))])
    lines.append(pipe_lines(table))
    lines += ["", MEANS] if judged["seed"].isna().any() else []
    lines += ["", UNHELD] if (judged["verdict"] == NOT_HELD).any() else []
    if unknown := [name for name in judged["metric"].unique() if metric_of(name) is None]:
        lines += ["", f"Not known to this version, and not held: {markdown_text(', '.join(sorted(unknown)))}."]
    return "\n".join(lines) + "\n"


def seed_words(row: Row) -> str:
    """The seed of a comparison, or those behind the two means."""
    return f"mean of {row['seeds']} against {row['baseline_seeds']}" if pd.isna(row["seed"]) else str(int(row["seed"]))


def cells_of(row: Row) -> dict[str, str]:
    """A comparison as tables show it, by the heads of their columns."""
    return {
        **{str(name): str(value) for name, value in row.items()},
        "model": _suite(row),
        "set": row["set"] + (" (white-box)" if row["source"] == "self" else ""),
        "seed": seed_words(row),
        "baseline": _number(row["baseline"]),
        "now": _number(row["value"]),
        "change": _number(row["change"], sign="+"),
        "tolerance": f"{row['tolerance']:.3g}",
    }


def _number(value: float, *, sign: str = "") -> str:
    return DASH if value != value else f"{value:{sign}.4f}".replace("-", MINUS)


def _moved_table(changed: pd.DataFrame) -> str:
    # What else names a row is shown where rows could not be told apart without it.
    more = ("preset", "dataset", "threat", "source") if changed.duplicated([*_BASE, "source", "seed"]).any() else ()
    seeds = changed["seed"].isna().any() or changed["seed"].nunique() > 1
    heads = ["verdict", "model", *more, "category", "set", "metric", *(["seed"] if seeds else [])]
    lines = [[*heads, *FIGURES], [":---"] * len(heads) + ["---:"] * len(FIGURES)]
    for row in changed.head(SHOWN).to_dict("records"):
        texts = cells_of(row)
        line = [markdown_text(texts[head]) for head in (*heads, *FIGURES)]
        line[0] = f"**{line[0]}**" if row["verdict"] in FAILING else line[0]
        lines.append(line)
    return pipe_lines(lines)


def _counted(name: str, tests: int, failures: int) -> dict[str, str]:
    return {"name": _xml(name), "tests": str(tests), "failures": str(failures), "errors": "0", "time": "0"}


def _suite(row: Row) -> str:
    return f"{row['detector']}-{row['paradigm']}"


def _xml(text: str) -> str:
    """Text without the characters that no XML document may hold; the writer escapes the rest."""
    return _NOT_XML.sub("\ufffd", text)
