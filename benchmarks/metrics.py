"""Pixel metrics and image quality against scikit-learn, torchmetrics, ADEval and scikit-image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from skimage.measure import label
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from benchmarks.measure import Row, alone, missing, side_by_side
from omnial_bench.metrics.quality import psnr, ssim
from omnial_bench.metrics.ranking import Ranking
from omnial_bench.metrics.regions import Regions

BATCH = 2**20
"""Pixels handed over at once, those of 16 maps of 256x256."""
Figures = tuple[float, float]
"""AUROC and AP."""


def drawn(pixels: int, *, prevalence: float = 0.03) -> tuple[Tensor, Tensor]:
    """Log-odds that overlap, and the truth."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(pixels, generator=generator) < prevalence
    return torch.randn(pixels, generator=generator) + 2 * labels, labels


def streamed(scores: Tensor, labels: Tensor, *, exact: bool = False) -> Figures:
    accumulator = Ranking(exact=exact)
    for some, truth in zip(scores.split(BATCH), labels.split(BATCH), strict=True):
        accumulator.update(some, truth)
    found = accumulator.compute()
    return found.auroc or 0.0, found.ap or 0.0


def scikit_learn(scores: Tensor, labels: Tensor) -> Figures:
    truth, values = labels.numpy(), scores.numpy()
    return float(roc_auc_score(truth, values)), float(average_precision_score(truth, values))


def torchmetrics(scores: Tensor, labels: Tensor, *, thresholds: int | None = None) -> Figures:
    """Labels are int32. Scores outside [0, 1] go through a sigmoid there."""
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    settings = {"thresholds": thresholds, "validate_args": False}
    return float(binary_auroc(scores, labels, **settings)), float(binary_average_precision(scores, labels, **settings))


def adeval(scores: Tensor, labels: Tensor) -> Figures:
    """Labels are int64."""
    from adeval.mem_effic import auroc_and_aupr

    with their_numpy():
        found: Figures = auroc_and_aupr(scores.numpy(), labels.numpy())
    return found


@contextmanager
def their_numpy() -> Iterator[None]:
    """ADEval asks for a name that NumPy took away in version 2.4, and divides by the zero pixels above the highest."""
    with mock.patch.object(np, "trapz", np.trapezoid, create=True), np.errstate(invalid="ignore"):
        yield


def off(found: Figures, true: Figures) -> tuple[float, float]:
    return abs(found[0] - true[0]), abs(found[1] - true[1])


def ranking(pixels: int, repeats: int) -> list[Row]:
    """Ours, streamed and exact, against each other library on the same scores."""
    scores, labels = drawn(pixels)
    truth, wide = labels.int(), labels.long()
    true = scikit_learn(scores, labels)
    others: dict[str, Callable[[], Figures]] = {
        "scikit-learn, AUROC and AP": lambda: scikit_learn(scores, labels),
    }
    if not missing("torchmetrics"):
        others["torchmetrics, exact"] = lambda: torchmetrics(scores, truth)
        others["torchmetrics, 200 thresholds"] = lambda: torchmetrics(scores, truth, thresholds=200)
    if not missing("adeval", "cv2"):
        others["ADEval, AUROC and AP"] = lambda: adeval(scores, wide)
    own = streamed(scores, labels)
    rows = []
    for name, other in others.items():
        goal = ">= 50" if pixels >= 20_000_000 and name.startswith("scikit") else ""
        errors = dict(
            zip(
                ("ours AUROC", "ours AP", "theirs AUROC", "theirs AP"),
                [*off(own, true), *off(other(), true)],
                strict=True,
            )
        )
        rows.append(
            side_by_side(
                f"AUROC, AP and F1max of {pixels:,} pixels, streamed", name, lambda: streamed(scores, labels), other,
                repeats=repeats, goal=goal, errors=errors,
            )
        )  # fmt: skip
    exact = off(streamed(scores, labels, exact=True), true)
    rows.append(
        side_by_side(
            f"AUROC, AP and F1max of {pixels:,} pixels, exact mode", "scikit-learn, AUROC and AP",
            lambda: streamed(scores, labels, exact=True), lambda: scikit_learn(scores, labels), repeats=repeats,
            errors={"ours AUROC": exact[0], "ours AP": exact[1]},
        )
    )  # fmt: skip
    return rows


def hard_scores(pixels: int, repeats: int) -> list[Row]:
    """Time and error on the scores that break others: saturated, tied, and one anomalous pixel among all."""
    odds, _ = drawn(pixels)
    labels = torch.rand(pixels, generator=torch.Generator().manual_seed(1)) < 0.02
    odds = 3 * odds - 9 + 6 * labels
    one = torch.zeros(pixels, dtype=torch.bool)
    one[pixels // 3] = True
    cases = {
        "log-odds": (odds, labels),
        "probabilities": (odds.sigmoid(), labels),
        "probabilities saturated at 0 and 1": ((8 * odds + 50).sigmoid(), labels),
        "scores of 256 grey levels": ((255 * (odds / 3).sigmoid()).round() / 255, labels),
        "one anomalous pixel among all": (torch.where(one, 4.0, odds), one),
    }
    rows = []
    for name, (scores, truth) in cases.items():
        true, own = scikit_learn(scores, truth), streamed(scores, truth)
        errors = dict(zip(("ours AUROC", "ours AP"), off(own, true), strict=True))
        if missing("adeval", "cv2"):
            rows.append(alone(f"{name}, {pixels:,}", partial(streamed, scores, truth), repeats=repeats, errors=errors))
            continue
        wide = truth.long()
        errors |= dict(zip(("theirs AUROC", "theirs AP"), off(adeval(scores, wide), true), strict=True))
        rows.append(
            side_by_side(
                f"{name}: {pixels:,} pixels, streamed", "ADEval, AUROC and AP",
                partial(streamed, scores, truth), partial(adeval, scores, wide), repeats=repeats,
                errors=errors,
            )
        )  # fmt: skip
    return rows


def maps(count: int, side: int) -> tuple[Float[Tensor, "n h w"], Bool[Tensor, "n h w"]]:
    """Anomaly maps, every second one with a large and a small region."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    for index in range(0, count, 2):
        y, x = torch.randint(0, side * 3 // 4, (2,), generator=generator).tolist()
        masks[index, y : y + side // 6, x : x + side // 6] = True
        masks[index, 1:4, 1:4] = True
    return torch.randn(masks.shape, generator=generator) + 2 * masks, masks


def overlap(scores: Tensor, masks: Tensor) -> float:
    regions = Regions()
    for some, truth in zip(scores.split(16), masks.split(16), strict=True):
        regions.update(some, truth)
    return regions.compute() or 0.0


def brute_overlap(scores: Tensor, masks: Tensor, limit: float = 0.3) -> float:
    """Every threshold and every region in turn, regions by scikit-image."""
    values, truth = scores.numpy(), masks.numpy()
    parts = [(image, label(mask, connectivity=2)) for image, mask in zip(values, truth, strict=True)]
    regions = [image[found == k] for image, found in parts for k in range(1, found.max() + 1)]
    normal: npt.NDArray[np.float32] = values[~truth]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(values)[::-1]:
        rates.append(float((normal >= threshold).mean()))
        overlaps.append(float(np.mean([(region >= threshold).mean() for region in regions])))
        if rates[-1] > limit:
            break
    x, y = np.array(rates), np.array(overlaps)
    y[-1] = np.interp(limit, x[-2:], y[-2:])
    x[-1] = limit
    return float(np.trapezoid(y, x) / limit)


def adeval_overlap(scores: Tensor, masks: Tensor) -> float:
    """Masks are bytes."""
    from adeval import EvalAccumulator

    accumulator = EvalAccumulator(float(scores.min()), float(scores.max()))
    accumulator.add_anomap_batch(list(scores.numpy()), list(masks.numpy().astype(np.uint8)))
    accumulator.add_image(np.array([0.0, 1.0]), np.array([0, 1]))
    accumulator.add_sample(np.array([0.0, 1.0]), np.array([0, 1]))
    with their_numpy():
        return float(accumulator.summary()["p_aupro"])


def per_region(count: int, side: int, brute: tuple[int, int], repeats: int) -> list[Row]:
    few, truth = maps(*brute)
    error = {"ours AUPRO": abs(overlap(few, truth) - brute_overlap(few, truth))}
    rows = [
        side_by_side(
            f"AUPRO of {brute[0]} maps of {brute[1]}x{brute[1]}", "brute force, regions by scikit-image",
            lambda: overlap(few, truth), lambda: brute_overlap(few, truth), repeats=repeats, errors=error,
        )
    ]  # fmt: skip
    scores, masks = maps(count, side)
    figure, goal = f"AUPRO of {count:,} maps of {side}x{side}, streamed", "<= 10" if count * side**2 > 6e7 else ""
    rows.append(alone(figure, lambda: overlap(scores, masks), repeats=repeats, goal=goal))
    if not missing("adeval", "cv2"):
        exact, bytes_ = Regions(exact=True), masks.byte()
        exact.update(scores, masks)
        true = exact.compute() or 0.0
        found = {"ours AUPRO": overlap(scores, masks), "theirs AUPRO": adeval_overlap(scores, bytes_)}
        rows.append(
            side_by_side(
                figure, "ADEval, AUPRO, AUROC and AP", lambda: overlap(scores, masks),
                lambda: adeval_overlap(scores, bytes_), repeats=repeats,
                errors={name: abs(value - true) for name, value in found.items()},
            )
        )  # fmt: skip
    return rows


def quality(count: int, repeats: int) -> list[Row]:
    """PSNR and SSIM of images of 256x256."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand((2, count, 3, 256, 256), generator=generator)
    arrays = [(a.numpy(), b.numpy()) for a, b in zip(first, second, strict=True)]
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}

    def their_ssim() -> list[float]:
        return [float(structural_similarity(a, b, channel_axis=0, **settings)) for a, b in arrays]

    def their_psnr() -> list[float]:
        return [float(peak_signal_noise_ratio(a, b, data_range=1.0)) for a, b in arrays]

    rows = []
    for name, ours, theirs in (("PSNR", psnr, their_psnr), ("SSIM", ssim, their_ssim)):
        errors = {f"ours {name}": float((ours(first, second).double() - torch.tensor(theirs())).abs().max())}
        rows.append(
            side_by_side(
                f"{name} of {count} images of 256x256", "scikit-image, an image at a time",
                partial(ours, first, second), theirs, repeats=repeats, errors=errors,
            )
        )  # fmt: skip
    if not missing("kornia"):
        from kornia.metrics import ssim as kornia_ssim

        def other() -> Tensor:
            found: Tensor = kornia_ssim(first, second, 11, padding="valid").mean((1, 2, 3))
            return found

        errors = {"theirs SSIM": float((other().double() - torch.tensor(their_ssim())).abs().max())}
        rows.append(
            side_by_side(
                f"SSIM of {count} images of 256x256", "kornia", lambda: ssim(first, second), other, repeats=repeats,
                errors=errors,
            )
        )  # fmt: skip
    return rows
