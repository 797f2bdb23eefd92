#!/usr/bin/env bash
# kornia 0.9.0 (CPU): connected_components cuts a defect that is longer than a hundred pixels into about as many regions as it is longer.
#
# A label spreads by a pixel an iteration, and there are `num_iterations` of them, 100 where nothing is said; nothing tells that it
# had not come to an end. Behind the hundredth pixel each keeps a label of its own: a scratch of 216 pixels is 116 regions, a dent of
# radius 100 thousands. A mean over regions, as in per-region overlap, then weighs a long defect by its length: a map that finds a
# dent and misses the scratch beside it has an overlap of 0.009 in place of a half. With as many iterations as the longest way through
# a region has steps the count is SciPy's; a thread that winds through the frame needs thousands, so the size of the frame is not enough.
#
# Output seen (kornia 0.9.0, torch 2.13.0+cpu):
#   scratch of 100 pixels: kornia 1 region, SciPy 1
#   scratch of 216 pixels: kornia 116 regions, SciPy 1
#   dent of radius 100: kornia 5699 regions, SciPy 1
#   mean overlap of a map that finds the dent and misses the scratch: kornia 0.009, SciPy 0.500
#   scratch of 216 pixels, 216 iterations: kornia 1 region, SciPy 1
#   thread of 16573 pixels, 1000 iterations: kornia 7831 regions, SciPy 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 kornia==0.9.0 scipy==1.17.1
cat >"$folder/regions.py" <<'PYTHON'
import numpy as np
import torch
from kornia.contrib import connected_components
from scipy.ndimage import label

SIDE = 256


def by_kornia(mask: np.ndarray, **settings: int) -> np.ndarray:
    return connected_components(torch.from_numpy(mask)[None, None].float(), **settings)[0, 0].numpy()


def by_scipy(mask: np.ndarray) -> np.ndarray:
    # Neighbours at corners too, as in kornia.
    return label(mask, np.ones((3, 3)))[0]


def regions(labels: np.ndarray) -> list[np.ndarray]:
    return [labels == name for name in np.unique(labels) if name]


def tell(what: str, mask: np.ndarray, **settings: int) -> None:
    here, there = len(regions(by_kornia(mask, **settings))), len(regions(by_scipy(mask)))
    print(f"{what}: kornia {here} region{'s' * (here > 1)}, SciPy {there}")


def scratch(length: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20, 20 : 20 + length] = True
    return mask


def disk(row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def thread() -> np.ndarray:
    """Every fourth row, joined to the next at one side and at the other in turn."""
    mask = np.zeros((SIDE, SIDE), bool)
    for index, row in enumerate(range(0, SIDE, 4)):
        mask[row] = True
        mask[row : row + 4, 0 if index % 2 else -1] |= row + 4 < SIDE
    return mask


tell("scratch of 100 pixels", scratch(100))
tell("scratch of 216 pixels", scratch(216))
tell("dent of radius 100", disk(128, 128, 100))
dent = disk(150, 128, 20)
both, means = dent | scratch(216), []
for labels in (by_kornia(both), by_scipy(both)):
    means.append(np.mean([(dent & region).sum() / region.sum() for region in regions(labels)]))
print(f"mean overlap of a map that finds the dent and misses the scratch: kornia {means[0]:.3f}, SciPy {means[1]:.3f}")
tell("scratch of 216 pixels, 216 iterations", scratch(216), num_iterations=216)
tell(f"thread of {thread().sum()} pixels, 1000 iterations", thread(), num_iterations=1000)
PYTHON
"$folder/venv/bin/python" -W error::RuntimeWarning "$folder/regions.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
scratch of 100 pixels: kornia 1 region, SciPy 1
scratch of 216 pixels: kornia 116 regions, SciPy 1
dent of radius 100: kornia 5699 regions, SciPy 1
mean overlap of a map that finds the dent and misses the scratch: kornia 0.009, SciPy 0.500
scratch of 216 pixels, 216 iterations: kornia 1 region, SciPy 1
thread of 16573 pixels, 1000 iterations: kornia 7831 regions, SciPy 1
SEEN
