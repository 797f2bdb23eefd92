"""Images of one split in memory, as bytes: what every later step reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from omnial_bench.types import Batch


@dataclass(frozen=True)
class Images:
    """Images at network size with their masks and names, kept as bytes and turned to float a batch at a time."""

    images: UInt8[Tensor, "n 3 h w"]
    masks: Bool[Tensor, "n h w"]
    categories: tuple[str, ...]
    defects: tuple[str, ...]
    """`good` for a normal image, else the name of the defect's folder."""
    ids: tuple[str, ...]
    """`<category>/<split>/<defect>/<stem>`, unique in a data set."""
    references: UInt8[Tensor, "n 3 h w"] | None = None
    """The clean normal image that each image was made from, where there is one."""
    conditions: tuple[str, ...] = ()
    """As of Sample, of the images of a data set; none of others."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size(self) -> tuple[int, int]:
        return self.images.shape[2], self.images.shape[3]

    def select(self, indices: Sequence[int]) -> "Images":
        """The images at `indices`, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        names = (self.categories, self.defects, self.ids)
        categories, defects, ids = (tuple(group[index] for index in indices) for group in names)
        conditions = tuple(self.conditions[index] for index in indices if self.conditions)
        references = None if self.references is None else self.references[chosen]
        return Images(self.images[chosen], self.masks[chosen], categories, defects, ids, references, conditions)

    def batch(self, indices: Sequence[int], device: torch.device | str = "cpu") -> Batch:
        """The images at `indices` as float in [0, 1] on `device`."""
        part = self.select(indices)
        images, masks = to_float(part.images, device), part.masks.to(device)
        references = None if part.references is None else to_float(part.references, device)
        return Batch(images, masks, part.categories, part.defects, part.ids, references)

    def batches(self, size: int, device: torch.device | str = "cpu") -> Iterator[Batch]:
        """All images in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(range(start, min(start + size, len(self))), device)


def to_float(images: UInt8[Tensor, "n 3 h w"], device: torch.device | str = "cpu") -> Float[Tensor, "n 3 h w"]:
    """Bytes to float in [0, 1]; moved as bytes, a quarter of the traffic."""
    return images.to(device, non_blocking=True).float().div_(255)


def to_bytes(images: Float[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n 3 h w"]:
    """Float in [0, 1] to the nearest grey level."""
    return images.detach().mul(255).round().clamp(0, 255).to(torch.uint8)


def concatenate(parts: Sequence[Images]) -> Images:
    """One after the other; references are kept only where every part has them."""
    references = [part.references for part in parts if part.references is not None]
    return Images(
        images=torch.cat([part.images for part in parts]),
        masks=torch.cat([part.masks for part in parts]),
        categories=tuple(name for part in parts for name in part.categories),
        defects=tuple(name for part in parts for name in part.defects),
        ids=tuple(name for part in parts for name in part.ids),
        references=torch.cat(references) if len(references) == len(parts) else None,
    )
