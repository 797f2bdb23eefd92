"""Images in memory: bytes and floats, picking, joining."""

import torch
from torch import Tensor

from omnial_bench.data.images import Images, concatenate, to_bytes, to_float


def draw_images(count: int, category: str = "cap", *, referenced: bool = True) -> Images:
    images = torch.randint(0, 256, (count, 3, 4, 6), generator=torch.Generator().manual_seed(count), dtype=torch.uint8)
    masks = torch.arange(count * 24).view(count, 4, 6) % 5 == 0
    defects = tuple("good" if index % 2 else "hole" for index in range(count))
    ids = tuple(f"{category}/test/{defect}/{index}" for index, defect in enumerate(defects))
    return Images(images, masks, (category,) * count, defects, ids, 255 - images if referenced else None)


def test_bytes_survive_the_way_to_float_and_back_and_floats_go_to_the_nearest_inside_the_range() -> None:
    levels = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    floats = to_float(levels)
    assert floats.dtype == torch.float32 and (floats.min().item(), floats.max().item()) == (0.0, 1.0)
    assert torch.equal(to_bytes(floats), levels)
    assert to_bytes(torch.tensor([[[[-0.2, 10.4, 10.6, 300.0]]]]) / 255).flatten().tolist() == [0, 10, 11, 255]


def test_select_keeps_everything_together_and_in_the_order_asked_for() -> None:
    given = draw_images(5)
    chosen = given.select([3, 0])
    assert (len(chosen), chosen.size, chosen.defects) == (2, (4, 6), ("good", "hole"))
    assert chosen.ids == (given.ids[3], given.ids[0])
    assert torch.equal(chosen.images, given.images[[3, 0]]) and torch.equal(chosen.masks, given.masks[[3, 0]])
    assert isinstance(chosen.references, Tensor) and torch.equal(chosen.references, 255 - chosen.images)


def test_batches_are_all_images_once_as_floats() -> None:
    given = draw_images(5, referenced=False)
    batches = list(given.batches(2))
    assert [batch.ids for batch in batches] == [given.ids[:2], given.ids[2:4], given.ids[4:]]
    assert torch.equal(torch.cat([batch.images for batch in batches]), to_float(given.images))
    assert all(batch.references is None for batch in batches)


def test_joined_images_keep_references_only_where_all_have_them() -> None:
    first, second = draw_images(2), draw_images(3, "weave")
    both = concatenate([first, second])
    assert both.ids == first.ids + second.ids and both.categories == ("cap",) * 2 + ("weave",) * 3
    assert isinstance(both.references, Tensor) and len(both.references) == 5
    assert concatenate([first, draw_images(3, "weave", referenced=False)]).references is None
