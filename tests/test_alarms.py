"""The decision threshold: what held-out normal images hold, what is counted at it, and that a checkpoint keeps it."""

import math
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest

from omnial_bench.errors import UserError
from omnial_bench.evaluation.target import Labels, Target, load_trained
from omnial_bench.metrics.alarms import Alarms, threshold_of
from omnial_bench.metrics.intervals import wilson
from omnial_bench.models.checkpoint import RECIPE, load, save
from omnial_bench.models.outside.calibration import normal_scores

GATE = Path(__file__).parent / "gate" / "weights"


@pytest.mark.parametrize(
    ("count", "rate", "rank"), [(19, 0.05, 1), (39, 0.05, 2), (38, 0.05, 1), (9, 0.05, 1), (99, 0.3, 30), (1, 0.5, 1)]
)
def test_the_threshold_is_the_order_statistic_that_holds_the_rate(count: int, rate: float, rank: int) -> None:
    scores = torch.randperm(count, generator=torch.Generator().manual_seed(0)).double().tolist()
    assert threshold_of(scores, rate) == (count - rank, rank / (count + 1))


def test_a_further_normal_image_raises_an_alarm_as_often_as_is_held() -> None:
    generator = torch.Generator().manual_seed(1)
    draws = torch.rand(4000, 25, generator=generator)
    raised = [further > threshold_of(own, 0.1)[0] for *own, further in draws.tolist()]
    # 2 of 25, and four standard deviations of 4000 draws.
    assert abs(sum(raised) / 4000 - 2 / 25) < 4 * math.sqrt(0.08 * 0.92 / 4000)


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (3, 40), (1, 2)])
def test_wilson(hits: int, n: int) -> None:
    known = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((known.low, known.high), abs=1e-12)


def test_counts_at_the_threshold() -> None:
    alarms = Alarms(tuple(map(float, range(9))), 0.1)
    alarms.update(torch.tensor([8.0, 8.5, 9.0]), torch.tensor([False, False, True]))
    alarms.update(torch.tensor([7.0, -1.0, 0.0]), torch.tensor([True, True, False]))
    shares = alarms.compute()
    assert {name: (share.value, share.n) for name, share in shares.items()} == {
        "image_missed": (2 / 3, 3), "image_false_alarms": (1 / 3, 3), "image_false_alarms_held": (0.1, 3),
    }  # fmt: skip
    assert all(share.value is None and share.n == 0 for share in Alarms().compute().values())


def test_a_checkpoint_keeps_the_scores_to_the_bit_and_one_without_any_loads(tmp_path: Path) -> None:
    trained = load(GATE / "draem")
    assert not trained.detector.normal_scores
    images = torch.rand(5, 3, *trained.recipe.size, generator=torch.Generator().manual_seed(2))
    scores = normal_scores(trained.detector, images, ["a", "a", "b", "a", "b"], "cpu")
    assert {name: len(own) for name, own in scores.items()} == {"a": 3, "b": 2}
    trained.detector.normal_scores = scores
    save(tmp_path, trained.detector, trained.recipe, trained.provenance)
    again = load_trained(tmp_path)
    assert again.detector.normal_scores == scores and again.sha256 == trained.sha256
    labels = Labels(detector="d", paradigm="unified", preset="p", dataset="x", seed=0, run="r")
    target = Target(detector=again.detector, labels=labels)
    assert target.alarms("a").held == 1 / 4 and target.alarms("c").held == 0
    text = (tmp_path / RECIPE).read_text(encoding="utf-8")
    (tmp_path / RECIPE).write_text(text.replace('a = "', 'a = "1.5 '), encoding="utf-8")
    with pytest.raises(UserError, match="checksum"):
        load(tmp_path)
