"""The checks of the attacks' health: a table of all, and a footnote where one puts a figure in doubt. No torch here."""

import math
from string import ascii_lowercase

import pandas as pd

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model
from omnial_bench.reports.origins import FAILED, LEARNT, NOT_RUN, PASSED, WHOLE
from omnial_bench.reports.table import DASH, MINUS, Column, Table
from omnial_bench.reports.wording import model_column

WIDE = (LEARNT, "huge eps breaks", "no zero gradients", "gradient is whole", "scores do not saturate")
"""Checks that put every gradient attack on a model in doubt where they fail."""
UNSETTLED = "more steps change little"
PRINTED = "nothing else harms more"
"""A check of what one suite prints: an attack of the same objective in another suite may well have found less."""


def health_table(campaign: Campaign) -> Table | None:
    """Each check by model: its verdict over the categories, and below it the figure and what it is compared with."""
    health, values = campaign.health, campaign.values
    if health.empty:
        return None
    models = [model for model in values.models if len(model.rows_in(health))]
    letters = letters_of(health)
    records, marks = list[dict[str, str]](), dict[tuple[int, str], str]()
    for check in dict.fromkeys(health["check"]):
        parts = {model.name: model.rows_in(health[health["check"] == check]) for model in models}
        verdicts = {name: _verdict(part) for name, part in parts.items()}
        figures = {name: _figures(part) for name, part in parts.items()}
        failed = [name for name, verdict in verdicts.items() if verdict.startswith(FAILED)]
        marks |= {(len(records), name): letters[check] for name in failed}
        records.append({"check": check, "row": "verdict", "kind": "check", **verdicts})
        if set(figures.values()) != {DASH}:
            records.append({"check": "figure : reference", "row": "figures", "kind": "chance", **figures})
    columns = [Column("check", "Check", style="text")]
    columns += [model_column(values, model, style="text") for model in models]
    ran = health[health["status"] != NOT_RUN]
    apart = not set(health["category"]) <= set(WHOLE)
    by_category = " and one category" if apart else ""
    means = ", means over the categories that passed or, where some failed, over those" if apart else ""
    caption = (
        f"Health of the white-box attacks: {(ran['status'] == PASSED).sum()} of {len(ran)} checks passed and "
        f"{(ran['status'] == FAILED).sum()} failed, each on one model{by_category}; {len(health) - len(ran)} were not "
        f"run. Below each verdict the figure of the check : its reference{means}. A failed check puts the model's "
        "figures under attack in doubt: footnotes name it, here and beside those figures."
    )
    strong, notes = frozenset(marks), _long_notes(campaign)
    return Table("health", caption, pd.DataFrame(records), tuple(columns), strong=strong, letters=marks, notes=notes)


def letters_of(health: pd.DataFrame) -> dict[str, str]:
    """The footnote letter of each check that failed somewhere."""
    somewhere = set(health.loc[health["status"] == FAILED, "check"])
    failed = [check for check in dict.fromkeys(health["check"]) if check in somewhere]
    return {check: ascii_lowercase[index % 26] * (1 + index // 26) for index, check in enumerate(failed)}


def doubts(campaign: Campaign, model: Model, condition: Condition | None, *others: Condition | None) -> set[str]:
    """Footnote letters of the failed checks that put the model's figure under an attack on itself in doubt.

    Those that were run on this set or, with `others`, on a set of the same objective that none of `others` shows (but
    PRINTED), and those that put every gradient attack on the model in doubt. An attack that had not settled puts those
    of its kind in doubt that are no longer.
    """
    if condition is None or not condition.white_box:
        return set()
    letters = letters_of(campaign.health)
    shown = {other.set for other in others if other}
    failed = model.rows_in(campaign.health[campaign.health["status"] == FAILED])
    known = campaign.attempts.drop_duplicates("set").set_index("set")

    def concerns(check: str, name: str) -> bool:
        """Whether a check that failed on a set of that name says something of this one."""
        if check in WIDE or name == condition.set:
            return True
        recorded = {name, condition.set} <= set(known.index)
        here, there = (dict(known.loc[each]) if recorded else {} for each in (condition.set, name))
        if check == UNSETTLED:
            return recorded and here["attack"] == there["attack"] and bool(here["steps"] <= there["steps"])
        # Where attacks.csv does not tell of both, they may well be of one objective.
        alike = here.get("objective") == there.get("objective")
        return bool(others) and check != PRINTED and name not in shown and alike

    return {letters[check] for check, name in zip(failed["check"], failed["set"], strict=True) if concerns(check, name)}


Notes = tuple[tuple[str, str], ...]


def short_notes(campaign: Campaign) -> Notes:
    """Footnotes that name each failed check with its models, categories and figures."""
    notes = []
    for check, letter, failures in _failures(campaign):
        cases = []
        for model, rows in failures:
            each = [
                ("" if row["category"] in WHOLE else f"{row['category']} ") + _pair(row["figure"], row["reference"])
                for row in rows.to_dict("records")
            ]
            cases.append(f"{campaign.values.label(model)} ({', '.join(each)})")
        notes.append((letter, f"Check failed: {check} (figure : reference). {'; '.join(cases)}."))
    return tuple(notes)


def _long_notes(campaign: Campaign) -> Notes:
    """Footnotes with each failure's own sentence."""
    notes = []
    for _, letter, failures in _failures(campaign):
        sentences = [
            f"{campaign.values.label(model)}{'' if row.category in WHOLE else f', {row.category}'}: "
            f"{str(row.note).rstrip('.') or 'failed'}."
            for model, rows in failures
            for row in rows.itertuples()
        ]
        notes.append((letter, " ".join(sentences)))
    return tuple(notes)


def _failures(campaign: Campaign) -> list[tuple[str, str, list[tuple[Model, pd.DataFrame]]]]:
    """Each check that failed, with its letter, and the rows of each model on which it did."""
    failed, failures = campaign.health[campaign.health["status"] == FAILED], []
    for check, letter in letters_of(campaign.health).items():
        parts = [(model, model.rows_in(failed[failed["check"] == check])) for model in campaign.values.models]
        failures.append((check, letter, [(model, rows) for model, rows in parts if len(rows)]))
    return failures


def _verdict(part: pd.DataFrame) -> str:
    """`failed` where any category failed, with their number; `not run` where none was run."""
    ran, failed = (part["status"] != NOT_RUN).sum(), (part["status"] == FAILED).sum()
    if not ran:
        return NOT_RUN
    if not failed:
        return PASSED
    return FAILED if failed == ran else f"{FAILED} {failed}/{ran}"


def _figures(part: pd.DataFrame) -> str:
    failed = part[part["status"] == FAILED]
    part = failed if len(failed) else part[part["status"] == PASSED]
    if part.empty or part["figure"].isna().all():
        return DASH
    return _pair(part["figure"].mean(), part["reference"].mean())


def _pair(figure: float, reference: float) -> str:
    """Both with as many decimals: three, fewer for large figures, none for whole ones."""
    known = [number for number in (figure, reference) if not math.isnan(number)]
    whole = all(float(number).is_integer() for number in known)
    digits = 0 if whole else 3 if max(map(abs, known)) < 10 else 1
    shown = [DASH if math.isnan(number) else f"{number:.{digits}f}" for number in (figure, reference)]
    return "\u00a0:\u00a0".join(shown).replace("-", MINUS)
