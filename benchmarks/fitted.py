"""PaDiM and PatchCore beside anomalib's, on the same features of real images, and an attack's step beside its backbone.

`python -m benchmarks.fitted DATA` wants a folder with the category bottle of MVTec AD, and anomalib 2.7 beside the
project. It writes fitted.md beside this file.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.__main__ import COLUMNS, table
from benchmarks.measure import Row, machine, side_by_side
from omnial_bench.config.load import read_recipe
from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.images import to_float
from omnial_bench.io.whole import write_text
from omnial_bench.models import padim
from omnial_bench.models.coreset import k_centres, nearest, project
from omnial_bench.models.padim import PaDiM
from omnial_bench.models.patchcore import ROUND, PatchCore, _distances
from omnial_bench.models.registry import build
from omnial_bench.provenance import commit
from omnial_bench.runtime import placed

BATCH = 8
THEIR_RIDGE = 1e-5
"""What anomalib adds to each variance beside PaDiM's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", choices=PARTS, action="append", help="measure these alone; other rows stay")
    chosen = parser.parse_args()
    images = to_float(find_dataset(chosen.data, ["bottle"]).load("train", ["bottle"], (256, 256)).images)
    names = chosen.part or list(PARTS)
    rows: dict[str, list[str]] = {name: [] for name in PARTS}
    out = Path(__file__).parent / "fitted.md"
    about = ", ".join(f"{name} {value}" for name, value in machine().items())
    measured = f"{about}; torch {torch.__version__}; commit {commit()}; medians of {chosen.repeats}"
    for name in PARTS:
        if name in names:
            made = PARTS[name](images, chosen.repeats)
            rows[name] = [
                f"| {name} | " + " | ".join((*cells, row.note)) + " |"
                for cells, row in zip(table(made), made, strict=True)
            ]
        elif out.is_file():
            rows[name] = [
                line for line in out.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {name} |")
            ]
    lines = [
        "# PaDiM and PatchCore beside anomalib's", "",
        f"{measured} ({', '.join(names)} last). Features are those of EfficientNet-Lite0 for normals of MVTec AD's "
        "bottle at 256x256, for both sides, which take turns in one process after a warm-up. Peak memory is what each "
        "adds to its start.", "",
        "| " + " | ".join(("part", *COLUMNS, "note")) + " |", "|---" * (len(COLUMNS) + 2) + "|",
        *(line for name in PARTS for line in rows[name]), "",
    ]  # fmt: skip
    write_text(out, "\n".join(lines))


def detector_of(name: str, **options: Any) -> Any:
    small = read_recipe(name, "small")
    return build(small.model_copy(update={"options": {**small.options, **options}})).eval()


def features_of(detector: PatchCore, images: Tensor) -> Tensor:
    """A row a place."""
    with torch.no_grad():
        rows = [detector._features(part).flatten(2).mT.flatten(0, 1) for part in images.split(BATCH)]
    every = torch.cat(rows)
    return every[torch.randperm(len(every), generator=torch.Generator().manual_seed(0))]


def radius(vectors: Tensor, places: Tensor) -> float:
    """The farthest that any vector lies from the nearest of those."""
    return max(float(torch.cdist(part, vectors[places]).amin(1).max()) for part in vectors.split(2000))


def coresets(images: Tensor, repeats: int) -> list[Row]:
    from anomalib.models.components.sampling.k_center_greedy import KCenterGreedy

    every, rows = features_of(detector_of("patchcore"), images[:60]), []
    for count, centres in ((20_000, 200), (20_000, 2000), (50_000, 500)):
        vectors = every[:count] - every[:count].mean(0)
        picked: dict[str, Tensor] = {}

        def ours(vectors: Tensor = vectors, centres: int = centres, picked: dict[str, Tensor] = picked) -> None:
            generator = torch.Generator().manual_seed(0)
            picked["ours"] = k_centres(project(vectors, generator), centres, generator)

        def theirs(vectors: Tensor = vectors, centres: int = centres, picked: dict[str, Tensor] = picked) -> None:
            picked["theirs"] = torch.tensor(KCenterGreedy(vectors, centres / len(vectors)).select_coreset_idxs())

        row = partial(
            side_by_side, f"coreset of {centres:,} of {count:,} features", "anomalib KCenterGreedy", ours, theirs
        )(repeats=repeats, goal=">= 6")
        one, other = radius(vectors, picked["ours"]), radius(vectors, picked["theirs"])
        told = f"covering radius {one:.4g}, theirs {other:.4g}: {one / other:.3f} (goal <= 1.05)"
        rows.append(Row(**{**vars(row), "note": told}))
    return rows


class Features(nn.Module):
    """A backbone in the form in which anomalib's models ask for one."""

    def __init__(self, backbone: nn.Module, layers: list[str]) -> None:
        super().__init__()
        self.backbone, self.layers = backbone, layers

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.layers, self.backbone(images), strict=True))


def large_memory(images: Tensor, repeats: int) -> list[Row]:
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    own = detector_of("patchcore")
    bank = features_of(own, images[:60])[:20_000]
    own.centre = bank.mean(0)
    own.memory = bank - own.centre
    layers = ["layer2", "layer3"]
    other = PatchcoreModel(layers, "resnet18", pre_trained=False).eval()
    other.feature_extractor, other.memory_bank = Features(own.backbone, layers), bank.clone()
    shown = images[100:101]

    def run(model: nn.Module) -> Any:
        with torch.no_grad():
            return model(shown)

    mine, theirs = run(own), run(other)
    named = partial(side_by_side, counterpart="anomalib PatchcoreModel", repeats=repeats, goal=">= 2", times=(3, 3))
    with torch.no_grad():
        vectors = own._features(shown).flatten(2).mT[0]
        centred = vectors - own.centre
        least = ROUND * own.memory.square().sum(1).mean()
        distances = _distances(centred, own.memory[nearest(centred, own.memory)], least)
        differences = {
            "distances": relative(distances, other.nearest_neighbors(vectors, 1)[0]),
            "score": relative(mine.score, theirs.pred_score),
        }  # fmt: skip
        apart = relative(mine.log_odds, theirs.anomaly_map[:, 0])
    told = f"maps differ by {apart:.1e} of the largest value: theirs repeats the nearest place, ours is bilinear"
    return [
        named("map and score of an image, memory of 20,000", ours=partial(run, own), theirs=partial(run, other),
              errors=differences, note=told),
        named("the nearest of a memory of 20,000 to 1,024 features",
              ours=partial(no_gradient, nearest, centred, own.memory),
              theirs=partial(no_gradient, other.nearest_neighbors, vectors, n_neighbors=1)),
    ]  # fmt: skip


def no_gradient(work: Callable[..., Any], *given: Any, **more: Any) -> Any:
    with torch.no_grad():
        return work(*given, **more)


def relative(one: Tensor, other: Tensor) -> float:
    """The largest difference, over the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def gaussians(images: Tensor, repeats: int) -> list[Row]:
    from anomalib.models.image.padim.torch_model import PadimModel

    own: PaDiM = detector_of("padim", grid=4)
    with torch.no_grad():
        levels = [own.backbone(part) for part in images[:200].split(BATCH)]
        sizes = [part.shape for part in levels[0]]
    layers = ["layer1", "layer2", "layer3"]
    other = PadimModel("resnet18", layers, pre_trained=False).eval()
    own.fit([images[:BATCH]], torch.Generator().manual_seed(0))
    finest = [level.channels for level in own._levels()][::-1]
    starts = [sum(size[1] for size in sizes[:place]) for place in range(3)]
    other.idx = torch.cat([part + start for part, start in zip(finest, starts, strict=True)])
    other.feature_extractor = Features(own.backbone, layers)

    def ours() -> None:
        backbone, batches = own.backbone, iter(levels)
        padim.RIDGE = 0.01 + THEIR_RIDGE
        own.backbone = Given(backbone, batches)  # type: ignore[assignment]
        own.fit([images[:BATCH]] * len(levels), torch.Generator().manual_seed(0))
        own.backbone = backbone

    def theirs() -> None:
        other.memory_bank = [other.generate_embedding(dict(zip(layers, part, strict=True))) for part in levels]
        other.fit()

    def held(module: nn.Module, names: tuple[str, ...]) -> float:
        state = module.state_dict().items()
        return sum(value.nbytes for name, value in state if name.split(".")[-1] in names) / 2**20

    row = side_by_side(
        "PaDiM's fit to 200 images, features given, 64x64 places, 100 channels", "anomalib PadimModel.fit",
        partial(no_gradient, ours), partial(no_gradient, theirs), repeats=repeats, goal=">= 3",
    )  # fmt: skip
    shown = images[200:208]
    mine, theirs_said = no_gradient(own, shown), no_gradient(other, shown)
    state = held(own, ("mean", "above", "own", "channels")), held(other, ("mean", "inv_covariance", "idx"))
    told = f"state {state[0]:.1f} MiB, theirs {state[1]:.1f} MiB: {state[0] / state[1]:.2f} (goal <= 0.5)"
    differences = {"map": relative(mine.log_odds, theirs_said.anomaly_map[:, 0])}
    return [
        Row(**{**vars(row), "note": told, "errors": differences}),
        side_by_side(
            f"PaDiM's maps of {BATCH} images, the same", "anomalib PadimModel", partial(no_gradient, own, shown),
            partial(no_gradient, other, shown), repeats=repeats,
        ),
    ]  # fmt: skip


class Given(nn.Module):
    """A backbone whose features are there already."""

    def __init__(self, backbone: nn.Module, batches: Any) -> None:
        super().__init__()
        self.channels, self.strides, self.batches = backbone.channels, backbone.strides, batches

    def forward(self, _: Tensor) -> Any:
        return next(self.batches)


def steps(images: Tensor, repeats: int) -> list[Row]:
    rows = []
    for name, goal, about in (
        ("padim", "<= 1.15", "PaDiM small"),
        ("patchcore", "<= 1.3", "PatchCore small, memory of 2,000"),
    ):
        detector = detector_of(name)
        with torch.no_grad():
            detector.fit(images[:60].split(BATCH), torch.Generator().manual_seed(0))
            if isinstance(detector, PatchCore):
                detector.memory = features_of(detector, images[:60])[:2000] - detector.centre
        detector = placed(detector, "cpu")
        shown = images[60 : 60 + BATCH].contiguous(memory_format=torch.channels_last)

        def whole(shown: Tensor = shown, detector: Any = detector) -> None:
            given = shown.clone().requires_grad_()
            torch.autograd.grad(detector(given).log_odds.sum(), given)

        def bare(shown: Tensor = shown, detector: Any = detector) -> None:
            given = shown.clone().requires_grad_()
            torch.autograd.grad(torch.stack([part.sum() for part in detector.backbone(given)]).sum(), given)

        rows.append(
            side_by_side(
                f"{about}: a gradient to {BATCH} images", "its backbone's features, forward and back", whole, bare,
                repeats=3 * repeats, sense="ours / theirs", goal=goal,
            )
        )  # fmt: skip
    return rows


PARTS: dict[str, Callable[[Tensor, int], list[Row]]] = {
    "coresets": coresets, "large memory": large_memory, "gaussians": gaussians, "steps": steps,
}  # fmt: skip


if __name__ == "__main__":
    # anomalib's own imports warn of what they use.
    warnings.simplefilter("ignore", FutureWarning)
    main()
