"""What white-box attacks leave, and what they cost: suite `white-box` beside the one of fifty steps that it replaced.

`python -m benchmarks.strength RUN DATA` attacks every model of a run folder and writes strength.csv and strength.md
beside this file: pixel AUROC under any harm, image AUROC with the score attacked, and passes through the network an
image, forward and back; forward alone counts as a third.
"""

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from omnial_bench.attacks.victim import Victim
from omnial_bench.config.load import read_suite
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.images import Images
from omnial_bench.evaluation.evaluate import evaluate
from omnial_bench.evaluation.target import Target, labels_of
from omnial_bench.io.csv import csv_text
from omnial_bench.io.whole import write_text
from omnial_bench.models.checkpoint import load
from omnial_bench.provenance import commit
from omnial_bench.types import Prediction

FOLDER = Path(__file__).parent
NAMES = ("any", "hide", "fabricate", "foreground", "score")
ASKED = (("any", "pixel_auroc"), ("score", "image_auroc"))
"""The bounds that a suite prints: which threat, and of what."""


def former() -> Suite:
    """The suite as it was: fifty steps each, on `balanced`, and every figure that of one attack alone."""
    changes: dict[str, dict[str, Any]] = {
        "hide": {"goal": "hide"}, "fabricate": {"goal": "fabricate"}, "foreground": {"where": "foreground"},
        "score": {"objective": "image_score"},
    }  # fmt: skip
    threats = tuple(
        Threat(name=name, eps=Fraction(8, 255), steps=50, options={"decay": True}, **changes.get(name, {}))
        for name in NAMES
    )
    return Suite(name="former", title="Fifty steps on cross-entropy", against="self", threats=threats)


class Counted:
    """Counts the images that pass forward and back while it is entered; forward alone is a third of that."""

    def __enter__(self) -> "Counted":
        self.thirds, self._plain = 0, Victim.predictions

        def counting(victim: Victim, images: Tensor) -> Iterator[Prediction]:
            self.thirds += len(images) * (3 if images.requires_grad else 1)
            yield from self._plain(victim, images)

        Victim.predictions = counting  # type: ignore[method-assign, assignment]
        return self

    def __exit__(self, *_: object) -> None:
        Victim.predictions = self._plain  # type: ignore[method-assign]

    @property
    def images(self) -> float:
        return self.thirds / 3


def measured(target: Target, images: Images, category: str, suite: Suite, limit: int | None = None) -> dict[str, float]:
    """The two bounds, and passes an image, on at most `limit` images."""
    alone = suite.name == "former"
    # Of the suite as it was no figure was put together from several attacks: each is evaluated by itself.
    parts = [suite.model_copy(update={"threats": (one,)}) for one in suite.threats] if alone else [suite]
    # The check of the gradient is no part of a figure.
    parts = [part.model_copy(update={"slopes": False}) for part in parts]
    found: dict[str, float] = {}
    with Counted() as counted:
        for part in parts:
            for row in evaluate(target, part, images, category, seed=0, limit=limit).rows:
                for name, metric in ASKED:
                    if row.set.removeprefix("white-box-") == name and row.metric == metric and row.value is not None:
                        found[metric] = row.value
    return {**found, "passes": counted.images / min(len(images), limit or len(images))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, help="images a category at the most")
    parser.add_argument("--model", action="append", help="models of the run; repeat for several; default: all")
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    folders = sorted((chosen.run / "models").iterdir())
    for folder in (one for one in folders if not chosen.model or one.name in chosen.model):
        trained = load(folder)
        made = trained.provenance
        target = Target(detector=trained.detector, labels=labels_of(trained, "strength"), categories=made.categories)
        for category in made.categories:
            shown = find_dataset(chosen.data, [category]).load("test", [category], trained.recipe.size)
            before, now = (
                measured(target, shown, category, one, chosen.limit) for one in (former(), read_suite("white-box"))
            )
            rows.append(
                {"model": target.model, "category": category, "n": min(len(shown), chosen.limit or len(shown))}
                | {f"{name}_{when}": side[name] for name in before for when, side in (("before", before), ("now", now))}
            )
            print(rows[-1], flush=True)  # noqa: T201
    table = pd.DataFrame(rows)
    write_text(FOLDER / "strength.csv", csv_text(table))
    shown_table = table.round(3)
    lines = ["| " + " | ".join(shown_table.columns) + " |", "|---" * len(shown_table.columns) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in shown_table.itertuples(index=False)]
    share = table["passes_now"].sum() / table["passes_before"].sum()
    goal = "met" if share <= 1 / 3 else "missed"
    worse = {name: int((table[f"{name}_now"] > table[f"{name}_before"] + 1e-9).sum()) for _, name in ASKED}
    write_text(
        FOLDER / "strength.md",
        "\n".join(
            [
                "# White-box figures beside those of fifty steps on cross-entropy", "",
                f"Commit {commit()}. Passes: {share:.3f} of those before (goal: a third; {goal}). Higher than before: "
                f"pixel AUROC in {worse['pixel_auroc']} of {len(table)}, image AUROC in {worse['image_auroc']} "
                "(goal: in none).", "", *lines, "",
            ]
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
