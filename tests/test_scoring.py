"""Rows of a detector made by hand, against scikit-learn and scikit-image."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from marked_images import mark_images
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from omnial_bench.evaluation.class_means import with_means
from omnial_bench.evaluation.scoring import score, score_category
from omnial_bench.evaluation.tally import _say
from omnial_bench.evaluation.target import Labels, Target
from omnial_bench.metrics.alarms import NAMES
from omnial_bench.results import Result
from omnial_bench.types import Batch, Detector, Prediction

DEFECTS = ("hole", "good", "good", "scratch", "good")
LABELS = Labels(detector="hand", paradigm="unified", preset="tiny", dataset="toy", seed=3, run="r")


class ByHand(Detector):
    """Red is the log-odds of an anomaly, a little; the reconstruction is a darker image."""

    def __init__(self, *, reconstructs: bool = True, darker: float = 0.9) -> None:
        super().__init__()
        self.reconstructs, self.darker = reconstructs, darker

    def forward(self, images: Tensor) -> Prediction:
        odds = 4 * images[:, :1] - 2
        logits = torch.cat((torch.zeros_like(odds), odds), 1)
        return Prediction(logits, images * self.darker if self.reconstructs else None, smoothing=3, pooling=5)


def values(rows: list[Result]) -> dict[str, float | None]:
    return {row.metric: row.value for row in rows}


def box(maps: np.ndarray, side: int) -> np.ndarray:
    padded = np.pad(maps, ((0, 0), (side // 2,) * 2, (side // 2,) * 2))
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2)).mean((3, 4))


def test_ranking_figures_are_scikit_learns() -> None:
    given = mark_images(DEFECTS)
    red = given.images[:, 0].double().numpy() / 255
    probability = 1 / (1 + np.exp(-(4 * red - 2)))
    truth, anomalous = given.masks.numpy().ravel(), np.array([defect != "good" for defect in DEFECTS])
    pixels, scores = box(probability, 3).ravel(), box(probability, 5).max((1, 2))
    # Batches of two: five images do not come out even.
    rows = score(ByHand(), given, LABELS, "cap", batch=2)
    found = values(rows)
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, pixels), abs=1e-6)
    assert found["pixel_ap"] == pytest.approx(average_precision_score(truth, pixels), abs=1e-6)
    assert found["pixel_ap_chance"] == pytest.approx(truth.mean())
    assert found["image_auroc"] == pytest.approx(roc_auc_score(anomalous, scores))
    assert found["image_ap"] == pytest.approx(average_precision_score(anomalous, scores))
    assert found["image_ap_chance"] == pytest.approx(2 / 5)
    assert 0 < found["pixel_aupro"] < 1
    said = {(row.detector, row.dataset, row.category, row.set, row.threat, row.source) for row in rows}
    assert said == {("hand", "toy", "cap", "clean", "none", "none")}
    assert len(rows) == 14 and {(row.seed, row.run) for row in rows} == {(3, "r")}


@pytest.mark.parametrize("referenced", [False, True])
def test_reconstruction_is_compared_with_the_clean_normal(referenced: bool) -> None:
    """With the image itself where there is nothing else, and then over good images alone."""
    given = mark_images(DEFECTS, referenced=referenced)
    images = given.images.permute(0, 2, 3, 1).numpy() / 255
    references = images if given.references is None else given.references.permute(0, 2, 3, 1).numpy() / 255
    chosen = [index for index, defect in enumerate(DEFECTS) if referenced or defect == "good"]
    pairs = [(references[index], 0.9 * images[index]) for index in chosen]
    noise = [peak_signal_noise_ratio(clean, made, data_range=1) for clean, made in pairs]
    alike = [
        structural_similarity(
            clean, made, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for clean, made in pairs
    ]
    rows = score(ByHand(), given, LABELS, "cap", batch=2)
    assert values(rows)["psnr"] == pytest.approx(np.mean(noise), rel=1e-5)
    assert values(rows)["ssim"] == pytest.approx(np.mean(alike), rel=1e-4)
    assert {row.n for row in rows if row.metric in ("psnr", "ssim")} == {len(chosen)}
    apart = ("psnr", "ssim", *NAMES)
    assert {row.n for row in rows if row.metric not in apart} == {len(DEFECTS)}
    assert [row.n for row in rows if row.metric in NAMES] == [2, 3, 3]


@pytest.fixture
def afresh() -> None:
    """Nothing has been said yet in this process."""
    _say.cache_clear()


@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize("defects", [("good", "good"), ("hole", "hole")])
def test_without_one_kind_of_image_its_figures_are_undefined(defects: tuple[str, ...], caplog) -> None:
    found = values(score(ByHand(), mark_images(defects), LABELS, "cap"))
    assert all(found[f"image_{name}"] is None for name in ("auroc", "ap", "f1max", "ap_chance"))
    assert "hand on cap: image_auroc" in caplog.text
    if "good" in defects:
        assert all(value is None for name, value in found.items() if name.startswith("pixel"))
        assert found["psnr"] is not None
        # The other one is that it has no threshold.
        assert len(caplog.records) == 2
    else:
        assert found["pixel_auroc"] is not None
        assert found["psnr"] is found["ssim"] is None
        assert "no normal image" in caplog.text
    # What is undefined on one set is so on the others, where it is not said again.
    caplog.clear()
    score(ByHand(), mark_images(defects), replace(LABELS, set="other"), "cap")
    assert not caplog.records


@pytest.mark.usefixtures("afresh")
def test_a_perfect_reconstruction_has_no_psnr(caplog: pytest.LogCaptureFixture) -> None:
    found = values(score(ByHand(darker=1.0), mark_images(DEFECTS), LABELS, "cap"))
    assert found["psnr"] is None and found["ssim"] == pytest.approx(1.0)
    assert "psnr undefined, an image is reconstructed without any error" in caplog.text


def test_no_reconstruction_no_quality() -> None:
    found = values(score(ByHand(reconstructs=False), mark_images(DEFECTS), LABELS, "cap"))
    assert found["psnr"] is found["ssim"] is None
    assert found["pixel_auroc"] is not None


def test_a_viewer_sees_every_image_with_its_prediction() -> None:
    seen: dict[str, Tensor] = {}

    def viewer(batch: Batch, prediction: Prediction) -> None:
        seen.update(zip(batch.ids, prediction.anomaly_map, strict=True))

    given = mark_images(DEFECTS)
    score(ByHand(), given, LABELS, "cap", batch=2, viewer=viewer)
    assert tuple(seen) == given.ids
    assert all(one.shape == (24, 24) for one in seen.values())


def row(category: str, value: float | None, **changes: object) -> Result:
    base: dict[str, object] = {**vars(LABELS), "metric": "pixel_ap", "n": 10, "category": category, "value": value}
    return Result(**{**base, **changes})  # type: ignore[arg-type]


class TestMeans:
    def test_unweighted_over_the_categories_where_there_is_a_figure(self) -> None:
        rows = [row("a", 0.2, n=100), row("b", None, n=7), row("c", 0.5, n=3)]
        *kept, mean = with_means(rows)
        assert kept == rows
        assert (mean.category, mean.value, mean.n) == ("mean", pytest.approx(0.35), 103)

    def test_none_where_no_category_has_a_figure(self) -> None:
        mean = with_means([row("a", None), row("b", None)])[-1]
        assert (mean.category, mean.value, mean.n) == ("mean", None, 0)

    @pytest.mark.parametrize(
        ("column", "other"),
        [
            ("detector", "x"),
            ("paradigm", "separate"),
            ("set", "pgd-4"),
            ("source", "self"),
            ("metric", "psnr"),
            ("seed", 1),
        ],
    )
    def test_never_over_different_things(self, column: str, other: object) -> None:
        means = [one for one in with_means([row("a", 0.2), row("a", 0.4, **{column: other})]) if one.category == "mean"]
        assert [one.value for one in means] == [0.2, 0.4]
        assert [getattr(one, column) for one in means] == [getattr(row("a", 0.2), column), other]

    def test_it_does_not_depend_on_the_order_to_the_last_bit(self) -> None:
        parts = [row(str(index), math.sin(index)) for index in range(15)]
        assert with_means(parts)[-1].value == with_means(parts[::-1])[-1].value


def test_a_condition_is_scored_as_if_there_were_no_other() -> None:
    """With the normal images that are of it or of all; anomalous ones of no condition are in none."""
    images = mark_images(("hole", "good", "good", "scratch", "good", "hole"))
    named = replace(images, conditions=("dim", "dim", "", "lit", "lit", ""))
    found = score_category(Target(detector=ByHand(), labels=LABELS), named, "cap").rows
    assert {row.set for row in found} == {"clean", "clean/dim", "clean/lit"}
    for name, chosen in (("dim", [0, 1, 2]), ("lit", [2, 3, 4])):
        alone = values(score(ByHand(), images.select(chosen), LABELS, "cap"))
        mine = values([row for row in found if row.set == f"clean/{name}"])
        assert mine == {metric: alone[metric] for metric in mine} and "pixel_aupro" in mine
