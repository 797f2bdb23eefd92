"""Common corruptions as the non-adversarial reference: metrics by corruption and severity. No torch here."""

from typing import Any

import pandas as pd

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.table import Column, Table
from omnial_bench.reports.tables import count_words, identity, mean_words
from omnial_bench.reports.values import METRIC_TITLES, Condition

SHOWN = ("image_auroc", "pixel_auroc")
METRICS = (*SHOWN, "pixel_ap")


def corruption_table(campaign: Campaign) -> Table | None:
    """A block a corruption, a row a model, columns by rising severity; pixel AP and spreads in the CSV alone."""
    suite, values = campaign.corruptions, campaign.values
    metrics = [name for name in METRICS if name in values.metrics]
    if suite is None or not metrics:
        return None
    found: dict[str, dict[int, Condition]] = {}
    for trial in suite.trials:
        if trial.corruption:
            kind, level = trial.corruption
            found.setdefault(kind, {0: suite.control} if suite.control else {})[level] = trial.conditions[0]
    levels = sorted({level for one in found.values() for level in one})
    records: list[dict[str, Any]] = []
    for kind in sorted(found):
        for model in values.models:
            record: dict[str, Any] = {"panel": kind, "model": values.label(model), **identity(model)}
            for metric in metrics:
                for level in levels:
                    record[f"{metric}_{level}"] = values.get(model, found[kind].get(level), metric)
                    record[f"{metric}_{level}_sd"] = values.spread(model, found[kind].get(level), metric)
            records.append(record)
    columns = [Column("model", "Model", style="text")]
    for metric in (name for name in metrics if name in SHOWN):
        columns += [Column(f"{metric}_{level}", str(level), group=METRIC_TITLES[metric]) for level in levels]
    conditions = [condition for one in found.values() for condition in one.values()]
    several = len(values.seeds_of(conditions)) > 1
    caption = (
        "Common corruptions of the test images by kind and severity, 0 for none: no attack and no source, the "
        f"reference for what harmless change does. Figures in per cent, {mean_words(values)}; "
        f"{count_words(values, conditions)}{'; standard deviations stand in the CSV' if several else ''}."
    )
    return Table("corruptions", caption, pd.DataFrame(records), tuple(columns))
