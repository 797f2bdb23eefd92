"""The same figures of image scores as `ranking` has of pixels, by scikit-learn: images are few enough to be held."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.metrics.ranking import RankingScores, checked


class ImageRanking:
    """AUROC, step-wise average precision and best F1 of the scores of images, with ties; never flipped."""

    def __init__(self) -> None:
        self._scores: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, scores: Float[Tensor, " b"], labels: Bool[Tensor, " b"]) -> None:
        """Take scores and labels (True = anomalous) of images, on any device. Raises UserError for NaN scores."""
        scores, labels = checked(scores.float(), labels)
        self._scores.append(scores.cpu())
        self._labels.append(labels.cpu())

    def compute(self) -> RankingScores:
        """The figures so far; more updates may follow."""
        if not self._scores:
            return RankingScores.of(None, 0, 0)
        scores, labels = torch.cat(self._scores).double().numpy(), torch.cat(self._labels).numpy()
        positives = int(labels.sum())
        counts = positives, len(labels) - positives
        if not all(counts):
            return RankingScores.of(None, *counts)
        # Imported here, for it takes half a second that a report or a training does not need.
        from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

        precision, recall, _ = precision_recall_curve(labels, scores)
        total = precision + recall
        f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
        figures = float(roc_auc_score(labels, scores)), float(average_precision_score(labels, scores)), float(f1.max())
        return RankingScores(*figures, positives / len(labels), *counts)
