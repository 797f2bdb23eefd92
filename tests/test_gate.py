"""The gate on itself: fixed weights and networks trained anew against reports/baseline.csv, and planted faults.

`tests/gate_runs.py` makes the runs; CONTRIBUTING says how the baseline is made anew.
"""

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
import torch
from gate_runs import GATE, SEEDS, draw, known, score_fixed, train_fresh

from omnial_bench.attacks import objectives, pgd
from omnial_bench.io.whole import write_text
from omnial_bench.metrics.ranking import Ranking, RankingScores
from omnial_bench.metrics.regions import Regions
from omnial_bench.pipeline.request import Request
from omnial_bench.pipeline.score_models import assess
from omnial_bench.reports.verdicts import failed, judge, moved
from omnial_bench.types import Prediction, ThreatModel

FRESH = (SEEDS, SEEDS + 1, SEEDS + 2)
"""Seeds that are not in the baseline: what is trained on another processor is another training as well."""
KEPT = ("gate-pgd", "gate-score")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("gate") / "data")


def table(judged: pd.DataFrame) -> str:
    return str(judged.drop(columns=["dataset", "paradigm", "preset", "threat"]).head(40).to_string())


def test_fixed_weights_give_the_figures_of_the_baseline(data: Path, tmp_path: Path) -> None:
    changed = moved(judge(score_fixed(data, tmp_path), known("fixed")))
    assert not failed(changed), table(changed)


@pytest.mark.slow
def test_networks_trained_anew_are_as_good_as_those_of_the_baseline(data: Path, tmp_path: Path) -> None:
    rows = pd.concat([train_fresh(data, tmp_path / str(seed), seed) for seed in FRESH], ignore_index=True)
    judged = judge(rows, known("fresh"))
    assert set(judged["baseline_seeds"]) == {",".join(map(str, range(SEEDS)))}
    assert not failed(judged), table(judged)


def test_a_fall_by_three_spreads_of_any_figure_is_caught() -> None:
    """Or by what counts as nothing where three spreads are less."""
    baseline = known("fresh").reset_index(drop=True)
    names = ["detector", "set", "source", "metric", "category"]
    groups = baseline.groupby(names, sort=False)["value"]
    figures = pd.DataFrame({"mean": groups.mean(), "spread": groups.std()}).reset_index()
    run = baseline[baseline["seed"] < len(FRESH)].merge(figures, on=names)
    run["seed"], run["value"] = run["seed"] + SEEDS, run["mean"]
    assert not failed(judge(run, baseline))
    held = judge(run.assign(value=0.0), baseline)
    held = held[held["verdict"] == "regression"]
    assert len(held) > 30
    for _, one in held.drop_duplicates(names)[::7].iterrows():
        here = (run[names] == one[names]).all(axis=1)
        least = 0.5 if one["metric"] == "psnr" else 0.02
        fallen = run.assign(value=run["value"] - here * (3 * run["spread"]).clip(lower=1.001 * least))
        (caught,) = moved(judge(fallen, baseline)).to_dict("records")
        assert caught["verdict"] == "regression" and caught["metric"] == one["metric"]


def attacked(data: Path, out: Path) -> pd.DataFrame:
    """What moves of one detector under two attacks, on the map and on the score."""
    suite = tomllib.loads((GATE / "suite.toml").read_text(encoding="utf-8"))
    threats = [threat for threat in suite["threats"] if threat["name"] in KEPT]
    write_text(out / "suite.toml", tomli_w.dumps({**suite, "threats": threats, "worst": False}))
    checkpoint = str(GATE / "weights" / "draem")
    rows = assess(
        Request(data=data, out=out / "rows", checkpoints=(checkpoint,), suites=(str(out / "suite.toml"),), device="cpu")
    )
    baseline = known("fixed")
    alike = (baseline["detector"] == "draem") & baseline["set"].isin(rows["set"])
    return moved(judge(rows, baseline[alike]))


def test_without_a_fault_nothing_moves(data: Path, tmp_path: Path) -> None:
    assert not failed(attacked(data, tmp_path))


def less_auroc(patch: pytest.MonkeyPatch) -> None:
    """Scoring: 0.03 of every AUROC."""
    of = RankingScores.of

    def less(*arguments: Any) -> RankingScores:
        scores = of(*arguments)
        return scores if scores.auroc is None else replace(scores, auroc=scores.auroc - 0.03)

    patch.setattr(RankingScores, "of", less)


def shifted_masks(patch: pytest.MonkeyPatch) -> None:
    """Scoring: maps and masks that do not lie on each other."""
    update = Regions.update
    patch.setattr(Regions, "update", lambda self, maps, masks: update(self, maps, masks.roll(1, -1)))


def flipped_images(patch: pytest.MonkeyPatch) -> None:
    """Scoring: the first of each batch has the label of the last."""
    update = Ranking.update
    patch.setattr(Ranking, "update", lambda self, scores, labels, *rest: update(self, scores, labels.roll(1, 0), *rest))


def smaller_pooling(patch: pytest.MonkeyPatch) -> None:
    """Scoring: the image score is the largest value of the map, not of its mean filter."""
    score = Prediction.image_score.fget  # type: ignore[attr-defined]
    patch.setattr(Prediction, "image_score", property(lambda self: score(replace(self, pooling=1))))


def smaller_ball(patch: pytest.MonkeyPatch) -> None:
    """Attack: three quarters of the size."""
    project = ThreatModel.project

    def within(self: ThreatModel, images: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        return clean + 0.75 * (project(self, images, clean) - clean)

    patch.setattr(ThreatModel, "project", within)


def fewer_steps(patch: pytest.MonkeyPatch) -> None:
    """Attack: it ends after two of five steps."""
    begin = pgd.DensePGD.__init__

    def hurried(self: Any, *arguments: Any, **settings: Any) -> None:
        begin(self, *arguments, **{**settings, "steps": 2})

    patch.setattr(pgd.DensePGD, "__init__", hurried)


def plain_objective(patch: pytest.MonkeyPatch) -> None:
    """Attack: normal pixels, nine in ten, decide."""
    patch.setitem(objectives.OBJECTIVES, "ranking", objectives.cross_entropy)


def weaker_score(patch: pytest.MonkeyPatch) -> None:
    """Attack: on the score, of normal images alone."""
    whole = objectives.image_score
    patch.setitem(
        objectives.OBJECTIVES, "image_score",
        lambda prediction, aim: whole(prediction, aim) * ~aim.truth.flatten(1).any(1),
    )  # fmt: skip


@pytest.mark.parametrize(
    "plant",
    [
        less_auroc, shifted_masks, flipped_images, smaller_pooling, smaller_ball, fewer_steps, plain_objective,
        weaker_score,
    ],
    ids=lambda plant: plant.__name__,
)  # fmt: skip
def test_a_planted_fault_is_caught(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    assert failed(attacked(data, tmp_path))
