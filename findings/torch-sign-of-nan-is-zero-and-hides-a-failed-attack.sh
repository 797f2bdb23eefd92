#!/usr/bin/env bash
# torch 2.13.0: the sign of NaN is 0, so that an attack by the sign of a gradient of NaN leaves the image as it is, and the
# network looks robust.
#
# NumPy's `sign` gives NaN for NaN, as `clamp` of torch does; `torch.sign` and `sgn` give 0. Here a detector scores the contrast
# of an image in relation to its brightness, patch by patch, as the root of the variance. Of a flat patch, as on a black
# background, it is 0, and its gradient infinity times 0: NaN, and through the mean brightness so is that of every pixel.
# FGSM, BIM and MI-FGSM of torchattacks 3.5.1 then return every image as it was, without a warning: 100 % robust. PGD in L2,
# which divides by the gradient's length and takes no sign, returns images of NaN, whose logits are NaN and whose `argmax`
# is 0: class 0 is all robust, class 1 all fooled. With `std` in place of `var().sqrt()`, the same number, whose gradient torch
# has as 0 there, each of them fools the network on every image. A random start can hide it, where its noise leaves no patch flat.
#
# Output seen:
#   sign of NaN: torch 0.0, sgn 0.0, numpy nan, clamp nan
#   std: FGSM 0%, BIM 0%, MIFGSM 0%, PGDL2 0% of class 0 and 0% of class 1
#   var().sqrt(): FGSM 100%, BIM 100%, MIFGSM 100%, PGDL2 100% of class 0 and 0% of class 1
#   var().sqrt(): 0 of 3 attacks by sign moved an image, 16 of 16 images of NaN from PGDL2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 scipy==1.17.1 requests==2.25.1 tqdm==4.70.1
# torchvision, which it names, is never imported here.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps torchattacks==3.5.1
cat >"$folder/sign.py" <<'PYTHON'
from collections.abc import Callable

import numpy as np
import torch
import torchattacks

BALL = 8 / 255


class Contrast(torch.nn.Module):
    """Tells images of much contrast (class 1) from those of little; the parameter is there for the attack to find its device."""

    def __init__(self, spread: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.spread, self.middle = spread, torch.nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = torch.nn.functional.unfold(images / images.mean((1, 2, 3), keepdim=True), 4, stride=4)
        score = 100 * (self.spread(patches).mean(1) - self.middle)
        return torch.stack([-score, score], 1)


nan = torch.tensor(torch.nan)
print(f"sign of NaN: torch {nan.sign()}, sgn {nan.sgn()}, numpy {np.sign(nan.numpy())}, clamp {nan.clamp(0, 1)}")

labels = torch.arange(16) % 2
width = torch.where(labels == 1, 0.16, 0.08).reshape(-1, 1, 1, 1)
images = 0.5 + width * (torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5)
images[..., :4, :] = 0  # the background
for name, spread in (("std", lambda patches: patches.std(1)), ("var().sqrt()", lambda patches: patches.var(1).sqrt())):
    network = Contrast(spread).eval()
    scores = network(images)[:, 1] / 100
    network.middle.copy_((scores[labels == 0].max() + scores[labels == 1].min()) / 2)
    right = network(images).argmax(1) == labels
    assert right.all()
    attacks = {
        "FGSM": torchattacks.FGSM(network, eps=BALL),
        "BIM": torchattacks.BIM(network, eps=BALL, alpha=BALL / 4, steps=10),
        "MIFGSM": torchattacks.MIFGSM(network, eps=BALL, alpha=BALL / 4, steps=10),
        "PGDL2": torchattacks.PGDL2(network, eps=2.0, alpha=0.5, steps=10, random_start=False),
    }
    attacked = {kind: attack(images, labels) for kind, attack in attacks.items()}
    kept = {kind: network(found).argmax(1) == labels for kind, found in attacked.items()}
    robust = [f"{kind} {kept[kind].float().mean():.0%}" for kind in attacks if kind != "PGDL2"]
    classes = [f"{kept['PGDL2'][labels == label].float().mean():.0%} of class {label}" for label in (0, 1)]
    print(f"{name}: {', '.join(robust)}, PGDL2 {' and '.join(classes)}")
    moved = sum(not torch.equal(attacked[kind], images) for kind in attacks if kind != "PGDL2")
    lost = int(attacked["PGDL2"].isnan().flatten(1).any(1).sum())
    print(f"{name}: {moved} of 3 attacks by sign moved an image, {lost} of 16 images of NaN from PGDL2")
PYTHON
"$folder/venv/bin/python" "$folder/sign.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
sign of NaN: torch 0.0, sgn 0.0, numpy nan, clamp nan
std: FGSM 0%, BIM 0%, MIFGSM 0%, PGDL2 0% of class 0 and 0% of class 1
std: 3 of 3 attacks by sign moved an image, 0 of 16 images of NaN from PGDL2
var().sqrt(): FGSM 100%, BIM 100%, MIFGSM 100%, PGDL2 100% of class 0 and 0% of class 1
var().sqrt(): 0 of 3 attacks by sign moved an image, 16 of 16 images of NaN from PGDL2
SEEN
