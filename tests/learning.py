"""What tests of detectors share: narrow networks, images of noise, a few steps, and a gradient held against
differences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omnial_bench.config.schema import Recipe, Training
from omnial_bench.data.images import Images
from omnial_bench.models.blocks import initialise
from omnial_bench.models.checkpoint import provenance_of
from omnial_bench.models.registry import DETECTORS
from omnial_bench.models.training import train
from omnial_bench.types import GradientTrained, Synthetic


def tiny(name: str, **options: Any) -> Any:
    """A narrow detector of two networks, in training mode."""
    kind, options_of = DETECTORS[name]
    detector = kind(options_of(**{"width": 4, "loc_width": 4, "pooling": 5} | options))  # type: ignore[operator]
    initialise(detector, torch.Generator().manual_seed(0))
    return detector


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def batch(classes: int = 4) -> Synthetic:
    """Two images, the first with a band of each class of defect."""
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    for level in range(1, classes):
        labels[0, 8 * level - 8 : 8 * level] = level
    return Synthetic(noise(2, 3, 32, 32), noise(2, 3, 32, 32, seed=1), labels, 0.3 * noise(2, 1, 32, 32, seed=2))


def narrow(detector: str, side: int, **settings: Any) -> Recipe:
    """A recipe for a few steps with a narrow detector."""
    budget = Training.model_validate({"epochs": 50, "batch": 4, **settings})
    options = {"width": 4, "loc_width": 4, "pooling": 5}
    return Recipe(detector=detector, preset="tiny", size=(side, side), training=budget, options=options)


def trained(
    out: Path, recipe: Recipe, images: Tensor, textures: Tensor, *, seed: int = 0, key: str = "key", **how: Any
) -> dict[str, Tensor]:
    """The weights of a training on these normals, which is written to `out`."""
    n, names = len(images), tuple(f"cap/train/good/{index:03}" for index in range(len(images)))
    masks = torch.zeros(n, *images.shape[2:], dtype=torch.bool)
    normals = Images(images, masks, ("cap",) * n, ("good",) * n, names)
    provenance = provenance_of(
        "draem", "unified", ["cap"], dataset="toy", data_fingerprint="f", seed=seed, precision="32-true", key=key
    )
    how = {"out": out, "provenance": provenance, "seed": seed, "device": "cpu", **how}
    return train(recipe, normals, textures, **how).state_dict()


class Bright(nn.Module):
    """A module from elsewhere: what is brighter is more anomalous."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1)


def totals_of(detector: GradientTrained, batch: Synthetic, terms: list[str], steps: int = 16) -> list[float]:
    """The loss in each step on one batch, by terms of these names, which move every parameter."""
    optimiser, totals = torch.optim.Adam(detector.parameters(), lr=5e-3), []
    for _ in range(steps):
        losses = detector.loss(batch)
        assert list(losses) == terms
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        assert all(part.grad is not None for part in detector.parameters())
        optimiser.step()
        totals.append(total.item())
    return totals


def check_whole(total: Callable[[Tensor], Tensor], images: Tensor, length: float) -> None:
    """The gradient of `total` reaches every pixel, and is what it changes by along a step of that length."""
    step = torch.randn(images.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shown = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(total(shown), shown)
    assert (slope != 0).all()
    with torch.no_grad():
        ahead, behind = (total(images + sign * length * step) for sign in (1, -1))
    torch.testing.assert_close((slope * step).sum(), (ahead - behind) / (2 * length), rtol=1e-4, atol=0)
