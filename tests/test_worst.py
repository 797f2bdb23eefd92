"""The worst of several versions of images, against every choice that there is."""

from itertools import product

import pytest
import torch

from omnial_bench.evaluation.worst import Worst
from omnial_bench.metrics.ranking import auroc


def versions(count: int, images: int, seed: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand((images, 3, 4), generator=generator) < 0.3
    masks[-1] = False
    maps = [torch.randn((images, 3, 4), generator=generator) + masks / (index + 1) for index in range(count)]
    return maps, masks


def chosen(maps: list[torch.Tensor], masks: torch.Tensor) -> float:
    anomalous = masks.flatten(1).any(1)
    worst = Worst(maps[0], maps[0].flatten(1).amax(1), masks, anomalous)
    for version in maps[1:]:
        worst.update(version, version.flatten(1).amax(1))
    return area(worst.maps(), masks)


def area(maps: torch.Tensor, masks: torch.Tensor) -> float:
    return auroc(maps.flatten(), masks.flatten())


@pytest.mark.parametrize("seed", range(8))
def test_it_lies_under_every_single_version_and_near_the_worst_choice(seed: int) -> None:
    maps, masks = versions(3, 5, seed)
    every = [
        area(torch.stack([maps[version][row] for row, version in enumerate(choice)]), masks)
        for choice in product(range(3), repeat=5)
    ]
    found = chosen(maps, masks)
    assert found <= min(area(version, masks) for version in maps)
    assert min(every) <= found <= min(every) + 0.01


def test_a_stronger_attack_counts_beyond_the_range_before_it() -> None:
    """Held against the maps before the attack alone, both attacks are as bad as can be."""
    masks = torch.tensor([[[True, False]], [[True, False]]])
    before = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    weak, strong = torch.tensor([[[-1.0, 2.0]], [[-1.0, 2.0]]]), torch.tensor([[[-9.0, 2.0]], [[3.0, 9.0]]])
    assert chosen([before, weak, strong], masks) == 0


def test_image_scores_are_the_lowest_of_a_defect_and_the_highest_of_a_good_part() -> None:
    masks = torch.tensor([[[True]], [[False]]])
    maps = torch.zeros(2, 1, 1)
    worst = Worst(maps, torch.tensor([0.5, 0.5]), masks, torch.tensor([True, False]))
    for scores in ([0.1, 0.2], [0.3, 0.9]):
        worst.update(maps, torch.tensor(scores))
    torch.testing.assert_close(worst.scores, torch.tensor([0.1, 0.9]))


def test_without_a_class_the_images_stay_as_they_were() -> None:
    maps, _ = versions(2, 3, 0)
    masks = torch.zeros((3, 3, 4), dtype=torch.bool)
    worst = Worst(maps[0], torch.zeros(3), masks, torch.zeros(3, dtype=torch.bool))
    worst.update(maps[1], torch.ones(3))
    assert torch.equal(worst.maps(), maps[0])
