"""What the benchmarks say of two sides, and the published way that they time."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import __main__ as main
from benchmarks import choice, metrics, published
from benchmarks.measure import alone, ratio_of, reached, side_by_side
from omnial_bench.config.load import read_recipe


def test_ratios_and_goals() -> None:
    assert (ratio_of(2, 8, "theirs / ours"), ratio_of(2, 8, "ours / theirs"), ratio_of(2, 8, "share")) == (4, 0.25, 0.2)
    goals = [(4, ">= 4"), (4, ">= 5"), (1.05, "<= 1.05"), (1.0, "")]
    assert [reached(ratio, goal) for ratio, goal in goals] == [True, False, True, None]


def test_both_sides_take_turns_and_the_ratio_is_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def ours() -> None:
        turns.append("ours")
        clock[0] += 0.002

    def theirs() -> None:
        turns.append("theirs")
        clock[0] += 0.02

    row = side_by_side("figure", "other", ours, theirs, repeats=2, times=(2, 1), goal=">= 2")
    # A warm-up and two repeats, and once more each for the memory.
    assert turns == ["ours", "ours", "theirs"] * 3 + ["ours", "theirs"]
    assert row.theirs is not None and row.ours < 0.02 <= row.theirs
    assert 2 < row.lowest <= row.ratio <= row.highest
    assert row.met is True


def test_the_table_has_every_row_and_note() -> None:
    row = alone("sleeping", lambda: time.sleep(0.001), repeats=1, goal="<= 9", errors={"AP": 1e-9}, note="as said")
    text = main.markdown([row], "about")
    assert "| sleeping | - | float32 |" in text
    assert "<= 9: met" in text and "AP 1.0e-09" in text and "- sleeping: as said." in text


def test_references_agree_with_each_other() -> None:
    scores, labels = metrics.drawn(5_000)
    assert metrics.streamed(scores, labels) == pytest.approx(metrics.scikit_learn(scores, labels), abs=1e-9)
    maps, masks = metrics.maps(4, 32)
    assert metrics.overlap(maps, masks) == pytest.approx(metrics.brute_overlap(maps, masks), abs=1e-9)


def test_the_published_way_makes_samples() -> None:
    random = np.random.default_rng(0)
    coverage = np.mean([published.perlin(64, random).mean() for _ in range(200)])
    assert coverage == pytest.approx(0.049, abs=0.015)
    image, texture = random.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    samples = [published.synthesize(image, texture, random) for _ in range(40)]
    assert 0.2 < np.mean([mask.any() for _, mask in samples]) < 0.7
    for sample, mask in samples:
        assert sample.dtype == np.float32 and sample.min() >= 0 and sample.max() <= 1
        assert np.array_equal(sample[~mask], (image.astype(np.float32) / 255)[~mask])
    for operation in published.OPERATIONS:
        assert operation(published.Image.fromarray(texture), random).size == (64, 64)


def test_figures_that_are_measured_again_take_the_place_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (
        replace(side_by_side(name, "other", lambda: None, lambda: None, repeats=1), commit="") for name in ("a", "b")
    )
    rows = [{name: value for name, value in asdict(row).items() if name != "commit"} for row in (first, second)]
    (tmp_path / "results.json").write_text(json.dumps({"commit": "old", "rows": rows}), encoding="utf-8")
    monkeypatch.setattr(main, "FOLDER", tmp_path)
    again, new = replace(first, ratio=7.0, commit="new"), replace(first, figure="c", commit="new")
    kept = main.renewed([new, again])
    assert [(row.figure, row.commit) for row in kept] == [("a", "new"), ("b", "old"), ("c", "new")]
    assert kept[0].ratio == 7.0


def test_a_setting_is_chosen_by_training_normals() -> None:
    recipe = read_recipe("gaussian", "tiny")
    assert choice.set_value(recipe, "batch", 3).training.batch == 3
    assert choice.set_value(recipe, "strides", [8, 16]).options["strides"] == [8, 16]
    generator = torch.Generator().manual_seed(0)
    shape = (40, 3, *recipe.size)
    normals = {name: torch.randint(100, 110, shape, dtype=torch.uint8, generator=generator) for name in ("cap", "can")}
    textures = torch.randint(256, (4, 3, *recipe.size), dtype=torch.uint8, generator=generator)
    found = choice.validate(recipe, normals, textures, seed=1)
    # Of even normals any texture stands out.
    assert set(found) == {"cap", "can"} and min(found.values()) > 0.5
    assert found == choice.validate(recipe, normals, textures, seed=1)
