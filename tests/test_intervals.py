"""Intervals over images, against the plain bootstrap and cases known by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from omnial_bench.evaluation.class_means import with_means
from omnial_bench.metrics import intervals
from omnial_bench.metrics.intervals import Intervals
from omnial_bench.results import Result


def drawn(n: int, shift: float, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Maps, masks, scores and labels of n images, every second with a defect; each image has a level of its own."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(n, 12, 12, generator=generator) + torch.randn(n, 1, 1, generator=generator)
    masks = torch.zeros(n, 12, 12, dtype=torch.bool)
    masks[::2, 3:7, 3:7] = True
    maps = maps + shift * masks
    return maps, masks, maps.flatten(1).amax(1), masks.flatten(1).any(1)


def found(*parts: torch.Tensor, batch: int = 7) -> dict[str, tuple[float, float]]:
    tally = Intervals()
    for rows in torch.arange(len(parts[0])).split(batch):
        tally.update(*(part[rows] for part in parts))
    return tally.compute()


def test_it_is_the_plain_bootstrap_over_images() -> None:
    """Of whole images, drawn within each kind, with scikit-learn's figures."""
    maps, masks, scores, labels = drawn(30, 1.5)
    random = np.random.default_rng(1)
    values: dict[str, list[float]] = {name: [] for name in ("pixel_auroc", "pixel_ap", "image_auroc", "image_ap")}
    kinds = [np.flatnonzero(labels.numpy() == kind) for kind in (True, False)]
    for _ in range(250):
        rows = np.concatenate([random.choice(kind, len(kind)) for kind in kinds])
        for what, truth, score in (("pixel", masks, maps), ("image", labels, scores)):
            pair = truth[rows].flatten().numpy(), score[rows].flatten().numpy()
            values[f"{what}_auroc"].append(roc_auc_score(*pair))
            values[f"{what}_ap"].append(average_precision_score(*pair))
    for name, (low, high) in found(maps, masks, scores, labels).items():
        first, last = np.quantile(values[name], [0.025, 0.975])
        truth, score = (masks, maps) if name.startswith("pixel") else (labels, scores)
        figure = roc_auc_score if name.endswith("auroc") else average_precision_score
        exact = figure(truth.flatten().numpy(), score.flatten().numpy())
        assert [exact + low, exact + high] == pytest.approx([first, last], abs=0.25 * (last - first)), name


def test_a_perfect_detector_has_no_width_and_neither_has_chance_of_ties() -> None:
    maps, masks, scores, labels = drawn(12, 1000.0)
    assert all(ends == (0.0, 0.0) for ends in found(maps, masks, scores, labels).values())
    flat = found(torch.zeros_like(maps), masks, torch.zeros_like(scores), labels)
    assert flat["pixel_auroc"] == flat["image_auroc"] == (0.0, 0.0)


def test_the_same_images_give_the_same_in_any_batches() -> None:
    assert found(*drawn(20, 1.0), batch=3) == found(*drawn(20, 1.0), batch=20)


def test_anomalous_images_with_empty_masks_are_drawn_like_others() -> None:
    """A draw of them alone has no pixel figure; it counts for the image figures all the same."""
    maps, masks, scores, labels = drawn(16, 1.5)
    masks[:10] = False
    low, high = found(maps, masks, scores, labels)["pixel_auroc"]
    assert -0.4 < low < 0 < high < 0.4


def test_a_single_image_of_a_kind_has_no_spread_that_could_be_told() -> None:
    maps, masks, scores, labels = drawn(9, 1.5)
    for marks in (labels, masks):
        marks[1:] = False
    assert found(maps, masks, scores, labels) == {}


def test_where_a_kind_is_missing_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks, scores, _ = drawn(8, 1.0)
    nothing = torch.zeros_like(masks)
    assert found(maps, nothing, scores, nothing.flatten(1).any(1)) == {}
    every = torch.ones(8, dtype=torch.bool)
    assert set(found(maps, masks, scores, every)) == {"pixel_auroc", "pixel_ap"}
    monkeypatch.setattr(intervals, "MOST", 7)
    assert found(*drawn(8, 1.0)) == {}


def row(category: str, value: float | None = 0.5, **facts: Any) -> Result:
    return Result(
        detector="a", paradigm="separate", preset="tiny", dataset="toy", category=category, set="s", threat="",
        source="self", metric="pixel_auroc", value=value, n=5, seed=0, run="r", **facts,
    )  # fmt: skip


def test_distances_to_the_ends_of_a_mean_add_as_squares() -> None:
    *_, mean = with_means([row("a", 0.5, low=0.44, high=0.53), row("b", 0.7, low=0.62, high=0.74), row("c", None)])
    assert mean.category == "mean"
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.6, 0.55, 0.625))
    *_, mean = with_means([row("a", 0.5, low=0.4, high=0.6), row("b", 0.7)])
    assert mean.low is None and mean.high is None


def test_a_mean_over_images_of_its_own_and_of_others_is_of_others() -> None:
    """A separate model that is the source of one category's images alone: no bound for the mean."""
    for other in ("pixel", "other"):
        assert with_means([row("a", aim="pixel"), row("b", aim=other)])[-1].aim == other
