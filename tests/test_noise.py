"""Noise as a control: its size, its distribution and its bounds."""

import pytest
import torch
from linear_detector import EPS, Linear, blocks, clean_images, run_attack


def noise(images, labels, where=None, **settings):
    detector = Linear(images.shape[-1])
    attacked, attack = run_attack("noise", detector, images, labels, where, steps=1, **settings)
    assert (detector.shown, attack.losses, attack.flat) == ([], [], None)
    return attacked


def grey(n: int = 8, side: int = 32):
    return torch.full((n, 3, side, side), 0.5), torch.zeros(n, side, side, dtype=torch.bool)


def test_fills_the_linf_ball_uniformly() -> None:
    images, labels = grey()
    change = (noise(images, labels) - images).flatten()
    assert change.abs().max() <= EPS + 1e-6
    quarters = torch.histc(change, 4, -EPS, EPS) / len(change)
    assert torch.allclose(quarters, torch.tensor(0.25), atol=0.01)


@pytest.mark.parametrize("limited", [False, True])
def test_lies_on_the_l2_sphere(limited) -> None:
    images, labels = grey()
    where = blocks(labels) if limited else None
    change = (noise(images, labels, where, norm="l2", eps=0.5) - images).flatten(1)
    assert torch.allclose(change.norm(dim=1), torch.tensor(0.5), atol=1e-5)
    assert change.sum(1).abs().max() < 0.5 * 4 * (sum(map(bool, change[0].tolist())) ** 0.5)
    assert (change[0] @ change[1]).abs() < 0.1


def test_a_goal_changes_nothing() -> None:
    images, labels = clean_images()
    assert torch.equal(noise(images, labels), noise(images, ~labels, goal="hide"))
