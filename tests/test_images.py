"""Images in memory: bytes and floats, picking, joining."""

import torch
from torch import Tensor

from omnial_bench.data.images import Images, concatenate, to_bytes, to_float


def clean_images(count: int, category: str = "cap", *, referenced: bool = False) -> Images:
    images = torch.randint(0, 256, (count, 3, 4, 6), generator=torch.Generator().manual_seed(count), dtype=torch.uint8)
    masks = torch.arange(count * 24).view(count, 4, 6) % 2 == 0
    defects = tuple("good" if index % 2 else "hole" for index in range(count))
    ids = tuple(f"{category}/test/{defect}/{index}" for index, defect in enumerate(defects))
    return Images(images, masks, (category,) * count, defects, ids, 255 - images if referenced else None)


def test_every_byte_survives_the_way_to_float_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    floats = to_float(levels)
    assert floats.dtype == torch.float32
    assert (floats.min().item(), floats.max().item()) == (0.0, 1.0)
    assert torch.equal(to_bytes(floats), levels)


def test_floats_go_to_the_nearest_level_inside_the_range() -> None:
    levels = torch.tensor([-0.2, 10.4, 10.6, 300.0]) / 255
    assert to_bytes(levels.view(1, 1, 1, 4)).flatten().tolist() == [0, 10, 11, 255]


def test_select_keeps_everything_together_and_in_the_order_asked_for() -> None:
    given = clean_images(5, referenced=True)
    chosen = given.select([3, 0])
    assert len(chosen) == 2
    assert chosen.size == (4, 6)
    assert chosen.ids == (given.ids[3], given.ids[0])
    assert chosen.defects == ("good", "hole")
    assert torch.equal(chosen.images, given.images[[3, 0]])
    assert torch.equal(chosen.masks, given.masks[[3, 0]])
    assert chosen.references is not None
    assert torch.equal(chosen.references, 255 - chosen.images)


def test_batches_are_all_images_once_as_floats() -> None:
    given = clean_images(5)
    batches = list(given.batches(2))
    assert [len(batch.ids) for batch in batches] == [2, 2, 1]
    assert sum((batch.ids for batch in batches), ()) == given.ids
    assert torch.equal(torch.cat([batch.images for batch in batches]), to_float(given.images))
    assert all(batch.references is None for batch in batches)


def test_joined_images_keep_references_only_where_all_have_them() -> None:
    first, second = clean_images(2, referenced=True), clean_images(3, "weave", referenced=True)
    both = concatenate([first, second])
    assert both.ids == first.ids + second.ids
    assert both.categories == ("cap",) * 2 + ("weave",) * 3
    assert isinstance(both.references, Tensor)
    assert len(both.references) == 5
    assert concatenate([first, clean_images(3, "weave")]).references is None
