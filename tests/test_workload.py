"""What a plan costs, counted by hand; and docs/scaling.md says what is counted."""

import re
from math import ceil
from pathlib import Path

import pytest

from benchmarks.workload import table, workload
from omnial_bench.config.load import read_plan, read_recipe
from omnial_bench.config.schema import Plan
from omnial_bench.errors import UserError
from omnial_bench.io.whole import write_text
from omnial_bench.models.registry import describe

DOCUMENT = Path(__file__).parents[1] / "docs" / "scaling.md"
SUITE = """
name = "two"
title = "Two"
against = "{against}"
limit = 8
[[threats]]
name = "two-hide"
eps = "8/255"
goal = "hide"
steps = 5
restarts = 2
[[threats]]
name = "two-noise"
eps = "8/255"
attack = "noise"
steps = 1
"""


def plan(**changes: object) -> Plan:
    table = {
        "name": "two", "title": "Two", "dataset": "mvtec_ad", "categories": ("bottle", "grid"), "preset": "small",
        "detectors": ("draem",), "suites": (),
    }  # fmt: skip
    return Plan.model_validate(table | changes)


def test_trainings_and_scores() -> None:
    """600 steps of 8 images for each of the three; of `tiny`, or ten times a category's images where that is less."""
    steps = 600 + 600 + 600
    (load,) = workload(plan(), seeds=3)
    assert (load.trainings, load.steps, load.trained) == (9, 3 * steps, 3 * steps * 8)
    (tiny,) = workload(plan(preset="tiny", categories=("toothbrush", "grid")))
    assert tiny.steps == 250 + ceil(10 * 60 / 4) + 250
    # 83 and 78 test images, seen by the unified and the separate model.
    assert (load.set_passes, load.test_passes, load.scored) == (0, 0, 3 * 2 * (83 + 78))
    flops = describe(read_recipe("draem", "small"))["flops"]
    assert load.pflop == pytest.approx(flops * (3 * load.trained + load.scored) / 1e15, rel=1e-12)


def test_sets_are_built_on_the_sources_and_seen_by_every_model() -> None:
    """Three attacked threats of ten steps; the control costs no pass. The unified model is the only source."""
    (load,) = workload(plan(suites=("paper",), limit=100))
    assert load.set_passes == 3 * 10 * 200
    assert load.scored == 2 * (83 + 78) + 4 * 2 * 200
    (load,) = workload(plan(suites=("paper",), sources=("draem-unified", "draem-separate-grid")))
    assert load.set_passes == 2 * 3 * 10 * (209 + 264)


@pytest.mark.parametrize(("against", "others"), [("self", 0), ("each", 1)])
def test_suites_that_attack_the_test_split(tmp_path: Path, against: str, others: int) -> None:
    """Of 8 images a category 4 are taken for normal: hidden are 4 defects, in 5 steps from 2 starts."""
    write_text(tmp_path / "two.toml", SUITE.format(against=against))
    (load,) = workload(plan(suites=(str(tmp_path / "two.toml"),)))
    assert load.test_passes == 2 * 2 * 4 * 5 * 2
    # Each image before the attack and after each threat, by the model and by the others; noise looks at it once more.
    assert load.scored == 2 * (83 + 78) + 2 * 2 * 8 * (1 + 2 * (1 + others)) + 2 * 2 * 8


def test_objectives_that_look_beyond_one_image_see_them_all_beforehand(tmp_path: Path) -> None:
    """Two models, 8 images a category: as they are, with the noise of either ball, and twice where one goes on."""
    lines = [
        f'[[threats]]\nname = "{name}"\neps = "{eps}/255"\nobjective = "{objective}"\nsteps = 1\n{more}'
        for name, eps, objective, more in (
            ("a", 8, "ranking", ""), ("b", 4, "ranking", ""), ("c", 8, "ranking", 'goal = "hide"'),
            ("d", 8, "pooled", 'start = "a"'), ("e", 8, "image_score", 'start = "d"'),
        )
    ]  # fmt: skip
    write_text(tmp_path / "five.toml", SUITE.format(against="self").split("[[threats]]")[0] + "\n".join(lines))
    (load,) = workload(plan(suites=(str(tmp_path / "five.toml"),)))
    assert load.scored == 2 * (83 + 78) + 2 * 2 * 8 * (1 + 5) + 2 * 2 * 8 * (1 + 2 + 2)
    # A step each, and a look at either start for the last.
    assert load.test_passes == 2 * 2 * (8 + 8 + 4 + 8 + 2 * 8)


def test_counts_that_nobody_published_are_an_error() -> None:
    with pytest.raises(UserError, match="there are none; try mvtec or visa"):
        workload(plan(dataset="toy", categories=("cap",)))
    with pytest.raises(UserError, match="unknown data set 'other'"):
        workload(plan(dataset="other"))
    with pytest.raises(UserError, match="did you mean 'grid'"):
        workload(plan(categories=("gird",)))


def test_the_document_states_what_is_counted() -> None:
    suites = ("paper", "white-box")
    found = table([read_plan(name).model_copy(update={"suites": suites}) for name in ("mvtec", "visa")], seeds=5)
    said = DOCUMENT.read_text(encoding="utf-8")
    rows = {
        tuple(cell.strip() for cell in line.strip("|\n").split("|"))
        for line in said.splitlines()
        if re.match(r"\| (mvtec_ad|visa|all) \|", line)
    }
    expected = {
        (row["dataset"], row["detector"], *(f"{row[name]:,}" for name in found.columns[2:-1]), f"{row['pflop']:,.0f}")
        for row in found.to_dict("records")
    }
    assert rows == expected
    operations = found["pflop"].iloc[-1]
    assert f"{operations * 1e3 / 3600:,.0f} / R hours ({operations:,.0f}·10¹⁵" in said
