"""The command that measures a device, in its short form on the CPU."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks import accelerator


@pytest.mark.slow
def test_a_few_seconds_give_rates_and_rows_of_every_detector(tmp_path: Path) -> None:
    accelerator.main(["--short", "--minutes", "0.02", "--device", "cpu", "--out", str(tmp_path)])
    rates, rows = pd.read_csv(tmp_path / "rates.csv"), pd.read_csv(tmp_path / "results.csv")
    assert set(rates["detector"]) == set(rows["detector"]) == set(accelerator.DETECTORS)
    assert (rates.groupby("detector")["figure"].count() == 4).all()
    assert (rates[["images_per_second", "counterpart_per_second", "ratio"]] > 0).all(axis=None)
    assert {"clean", "quick-any", "quick-score"} <= set(rows["set"])
    # Rows, and no weights: they are to be carried from one machine to another.
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {".csv", ".json"}
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 500_000


def test_without_data_it_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        accelerator.main(["--out", str(tmp_path)])
    assert "--data: expected the folder of a data set, or --short" in capsys.readouterr().err
