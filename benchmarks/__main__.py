"""Speed side by side: each figure and its counterpart alternate in one process, and the table holds their ratio.

`python -m benchmarks [--quick] [--only WORD...] [--again WORD...]` writes results.json and results.md beside this file
and prints the table. Packages that are not installed are left out and named.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import attack, metrics, scoring, synthesis, training
from benchmarks.measure import Row, machine, missing
from omnial_bench.io.whole import write_json, write_text
from omnial_bench.memory import keep_freed_memory
from omnial_bench.provenance import commit, versions

PUBLIC = ("scikit-learn", "torchmetrics", "ADEval", "scikit-image", "kornia", "torchattacks", "anomalib")
FOLDER = Path(__file__).parent
Part = Callable[[], Row | list[Row]]


def quick() -> dict[str, Part]:
    """Small presets and sizes: three minutes on two cores."""
    small: dict[str, Part] = {
        "metrics: ranking": lambda: metrics.ranking(2_000_000, 3),
        "metrics: hard scores": lambda: metrics.hard_scores(500_000, 1),
        "metrics: regions": lambda: metrics.per_region(64, 256, (6, 64), 3),
        "metrics: quality": lambda: metrics.quality(8, 5),
        "synthesis: rate": lambda: synthesis.rate(5),
        "training: convolution": lambda: training.convolution(5),
        "training: memory": lambda: training.recomputed("draem", "small", 8),
        "training: instance norm": lambda: [
            training.instance_norm("omnial", "small", precision, 5) for precision in ("32-true", "bf16-mixed")
        ],
        "training: published": lambda: training.over_published("draem", "small", 3),
        "attack: torchattacks": lambda: attack.over_torchattacks("draem", "small", 4, 2),
        "scoring: share": lambda: scoring.network_share("draem", "small", 64, 3),
    }
    for name in ("draem", "jnld", "omnial"):
        small[f"synthesis: {name}"] = partial(synthesis.share, name, "small", "bf16-mixed", 3)
        small[f"training: {name}"] = partial(training.over_floor, name, "small", "bf16-mixed", 3)
        small[f"attack: {name}"] = partial(attack.over_floor, name, "small", "bf16-mixed", 4, 2)
    return small


def full() -> dict[str, Part]:
    """The paper's sizes, at a batch of 4: some forty minutes on two cores."""
    parts = quick() | {
        "metrics: ranking": lambda: metrics.ranking(20_000_000, 3),
        "metrics: hard scores": lambda: metrics.hard_scores(20_000_000, 1),
        "metrics: regions": lambda: metrics.per_region(1000, 256, (8, 96), 3),
        "metrics: quality": lambda: metrics.quality(16, 9),
        "synthesis: rate": lambda: synthesis.rate(11),
        "training: published, paper": lambda: training.over_published("draem", "paper", 3, batch=4),
        "training: draem, paper": lambda: training.over_floor("draem", "paper", "bf16-mixed", 3, batch=4),
        "training: memory": lambda: training.recomputed("draem", "paper", 20),
        "attack: draem, paper": lambda: attack.over_floor("draem", "paper", "bf16-mixed", 1, 3),
        "attack: torchattacks, paper": lambda: attack.over_torchattacks("draem", "paper", 1, 3),
        "scoring: share, paper": lambda: scoring.network_share("draem", "paper", 8, 3),
        "scoring: very many": lambda: scoring.very_many(100_000),
    }
    for name in ("draem", "jnld", "omnial"):
        parts[f"synthesis: {name}, paper"] = partial(synthesis.share, name, "paper", "bf16-mixed", 2, batch=4)
    return parts


def table(rows: list[Row]) -> list[tuple[str, ...]]:
    """The cells of each row, in words."""
    return [
        (
            row.figure,
            row.counterpart or "-",
            row.precision,
            f"{row.ours:.4g}",
            "-" if row.theirs is None else f"{row.theirs:.4g}",
            f"{row.ratio:.3g} ({row.lowest:.3g}, {row.highest:.3g})",
            row.sense,
            "" if row.met is None else f"{row.goal}: {'met' if row.met else 'NOT met'}",
            " / ".join("-" if mib is None else f"{mib:.0f}" for mib in (row.ours_mib, row.theirs_mib)),
            "; ".join(f"{name} {error:.1e}" for name, error in (row.errors or {}).items()),
        )
        for row in rows
    ]


COLUMNS = (
    "figure", "counterpart", "ours in", "ours, s", "theirs, s", "ratio (lowest, highest)", "of", "goal", "peak MiB",
    "errors",
)  # fmt: skip
SHOWN = (0, 1, 3, 4, 5, 6, 7)


def markdown(rows: list[Row], about: str) -> str:
    lines = ["# Speed side by side", "", about, "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in table(rows)]
    notes = [f"- {row.figure}: {row.note}." for row in rows if row.note]
    return "\n".join([*lines, "", *notes, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small presets, fewer repeats: three minutes")
    parser.add_argument("--only", nargs="*", help="parts whose name holds one of these words; nothing is written")
    parser.add_argument("--again", nargs="+", help="as --only, and the figures take the place of theirs in the results")
    chosen = parser.parse_args()
    words = chosen.again or chosen.only
    keep_freed_memory()
    console, rows = Console(), list[Row]()
    # Before the first of our own files is written, which would count as a change.
    made_by = commit()
    for name, part in (quick() if chosen.quick else full()).items():
        if words and not any(word in name for word in words):
            continue
        start = time.monotonic()
        made = part()
        rows += [replace(row, commit=made_by) for row in (made if isinstance(made, list) else [made])]
        console.print(f"{name}: {time.monotonic() - start:.0f} s", style="dim")
        if not chosen.only:
            # After each part, so that a run that is cut off leaves what it measured.
            write(renewed(rows) if chosen.again else rows, quick=chosen.quick)
    shown = Table(title="seconds, medians; the ratio with lowest and highest; the rest is in results.md")
    for place in SHOWN:
        shown.add_column(COLUMNS[place])
    for cells in table(rows):
        shown.add_row(*(cells[place] for place in SHOWN))
    (console if console.is_terminal else Console(width=200)).print(shown)


def renewed(rows: list[Row]) -> list[Row]:
    """The rows of the last results, those in place that were measured again."""
    record = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    before = [Row(**{"commit": record.get("commit", ""), **row}) for row in record["rows"]]
    again = {(row.figure, row.counterpart): row for row in rows}
    kept = [again.pop((row.figure, row.counterpart), row) for row in before]
    return [*kept, *again.values()]


def write(rows: list[Row], *, quick: bool) -> None:
    """results.json and results.md beside this file."""
    where, left_out = machine(), missing("torchmetrics", "adeval", "cv2", "kornia", "anomalib")
    record = {
        "quick": quick,
        "versions": versions() | {name: _version(name) for name in PUBLIC},
        "machine": where,
        "left_out": left_out,
        "rows": [asdict(row) for row in rows],
    }
    write_json(FOLDER / "results.json", record)
    commits = ", ".join(sorted({row.commit for row in rows}))
    about = (
        f"{where['processor']}, {where['cores']} cores, {where['threads']} threads; torch {torch.__version__}; commit "
        f"{commits}; {'quick' if quick else 'full'} run. Seconds are medians, both sides in turn in "
        "one process after a warm-up. Peak memory is what either side takes on top of what lay there before. "
        + (f"Not installed, and so left out: {', '.join(left_out)}." if left_out else "")
    )
    write_text(FOLDER / "results.md", markdown(rows, about))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
