"""What the ledger writes, and what lies there when it is stopped at any of its writes."""

import json
from pathlib import Path

import pytest
from fake_run import fake_attempts, fake_rows

from omnial_bench.evaluation.target import Outcome
from omnial_bench.io.whole import write_text
from omnial_bench.pipeline import ledger as ledger_module
from omnial_bench.pipeline.ledger import Ledger
from omnial_bench.results import UNFINISHED, Attempt, Result

CATEGORIES = ("bottle", "grid")


def outcomes() -> list[Outcome]:
    """What two tasks gave: the clean rows of a category each."""
    rows = fake_rows(detectors=("draem",))
    rows = rows[(rows["set"] == "clean") & (rows["paradigm"] == "unified") & (rows["metric"] == "pixel_auroc")]
    return [
        Outcome(rows=[Result(**row) for row in rows[rows["category"] == category].to_dict("records")])
        for category in CATEGORIES
    ]


def finished(out: Path, given: list[Outcome]) -> Ledger:
    ledger = Ledger(out, [f"score draem-unified on clean, {category}" for category in CATEGORIES], CATEGORIES)
    for index, outcome in enumerate(given):
        ledger.add(index, outcome)
    return ledger


def test_what_an_earlier_run_left_of_attacks_goes(tmp_path: Path) -> None:
    for name in ("attacks.csv", "health.csv"):
        write_text(tmp_path / name, "of another run\n")
    finished(tmp_path, outcomes()[:1]).write_part()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.csv", UNFINISHED]
    finished(tmp_path, outcomes()).close()
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def test_stopped_at_any_write_it_says_that_it_is_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = fake_attempts(n=2)
    some = some[(some["set"] == "white-box-any") & (some["detector"] == "draem") & (some["paradigm"] == "unified")]
    attempts = [Attempt(**row) for row in some.to_dict("records")]
    given = [*outcomes()[:1], Outcome(rows=outcomes()[1].rows, attempts=attempts)]
    writes = ("write_rows", "write_text", "write_differences")
    for moment in range(4):
        out, count = tmp_path / str(moment), [0]

        def stop(function, *, at: int = moment, count: list[int] = count):
            def write(*arguments: object) -> None:
                if count[0] == at:
                    raise KeyboardInterrupt
                count[0] += 1
                function(*arguments)

            return write

        with monkeypatch.context() as patch:
            for name in writes:
                patch.setattr(ledger_module, name, stop(getattr(ledger_module, name)))
            with pytest.raises(KeyboardInterrupt):
                finished(out, given).close()
        assert json.loads((out / UNFINISHED).read_text(encoding="utf-8")) == {"done": 2, "of": 2, "missing": []}
        finished(out, given).close()
        assert sorted(path.name for path in out.iterdir()) == ["attacks.csv", "health.csv", "results.csv"]
