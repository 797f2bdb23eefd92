"""Noise with a brighter rectangle where there is a defect, for tests of what is made of predictions."""

import torch

from omnial_bench.data.images import Images


def mark_images(defects: tuple[str, ...], size: tuple[int, int] = (24, 24), *, referenced: bool = False) -> Images:
    generator, n = torch.Generator().manual_seed(0), len(defects)
    images = torch.randint(60, 140, (n, 3, *size), generator=generator)
    masks = torch.zeros(n, *size, dtype=torch.bool)
    masks[[defect != "good" for defect in defects], 4:10, 5:12] = True
    images = (images + 45 * masks[:, None]).to(torch.uint8)
    ids = tuple(f"cap/test/{defect}/{index:03}" for index, defect in enumerate(defects))
    return Images(images, masks, ("cap",) * n, defects, ids, 255 - images if referenced else None)
