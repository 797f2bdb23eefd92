"""Scoring: what the network takes of it, and whether its memory stays flat over very many images."""

import time

import torch

from benchmarks.attack import subject
from benchmarks.common import clean_images, recipe_of
from benchmarks.measure import Row, resident_mib, side_by_side
from omnial_bench.data.images import Images, to_bytes
from omnial_bench.evaluation.scoring import score
from omnial_bench.evaluation.tally import Tally
from omnial_bench.evaluation.target import Labels
from omnial_bench.runtime import placed
from omnial_bench.types import Batch

LABELS = Labels(detector="draem", paradigm="separate", preset="small", dataset="drawn", seed=0, run="bench")
BATCH = 16


def network_share(name: str, preset: str, count: int, repeats: int) -> Row:
    """Bare forward passes over the whole of scoring: bytes to all metrics."""
    detector, images, masks = subject(name, preset, count)
    masks[::2] = False
    defects = tuple("good" if not mask.any() else "square" for mask in masks)
    ids = tuple(f"part/test/{index}" for index in range(count))
    kept = Images(to_bytes(images), masks, ("part",) * count, defects, ids)
    placed(detector, "cpu")

    def forward() -> None:
        with torch.inference_mode():
            for part in images.split(BATCH):
                detector(part.contiguous(memory_format=torch.channels_last))

    return side_by_side(
        f"{name} {preset}: forward passes of {count} images", "scoring them, all metrics", forward,
        lambda: score(detector, kept, LABELS, "part", batch=BATCH), repeats=repeats, sense="ours / theirs",
        goal=">= 0.9",
    )  # fmt: skip


def very_many(count: int, side: int = 32, batch: int = 200) -> Row:
    """A generated set, scored batch by batch: resident memory after each tenth of it."""
    recipe = recipe_of("draem", "tiny", None).model_copy(update={"size": (side, side)})
    detector, _, _ = subject("draem", "tiny", 1)
    placed(detector, "cpu")
    images, _ = clean_images(recipe, batch)
    masks = torch.zeros(batch, side, side, dtype=torch.bool)
    masks[::2, 8:16, 8:20] = True
    generator = torch.Generator().manual_seed(0)
    memory: list[float] = []

    def work() -> None:
        memory.clear()
        tally = Tally()
        with torch.inference_mode():
            for index in range(count // batch):
                noisy = (images + 0.1 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
                names = tuple(f"part/test/{index}/{place}" for place in range(batch))
                part = Batch(noisy, masks, ("part",) * batch, ("square", "good") * (batch // 2), names)
                tally.update(part, detector(noisy.contiguous(memory_format=torch.channels_last)))
                if (index + 1) % (count // batch // 10) == 0:
                    memory.append(round(resident_mib()))
        tally.rows(LABELS, "part")

    start = time.perf_counter()
    work()
    taken = time.perf_counter() - start
    note = f"resident MiB after each tenth: {', '.join(map(str, memory))}"
    return Row(
        figure=f"scoring {count:,} generated images of {side}x{side}, {count * side**2 / 1e6:.0f} million pixels",
        counterpart="", ours=taken, theirs=None, sense="seconds", ratio=taken, lowest=taken, highest=taken, repeats=1,
        note=note,
    )  # fmt: skip
