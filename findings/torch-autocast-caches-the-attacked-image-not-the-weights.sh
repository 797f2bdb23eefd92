#!/usr/bin/env bash
# torch 2.13.0 (CPU, bfloat16): under one autocast, an image that is attacked in place is seen as it was at first.
#
# Autocast keeps the low-precision copy of a float32 leaf that requires a gradient until the outermost context ends, and
# does not look whether its values have changed since. That is meant for weights. In a gradient attack it is the other way
# about: the image is the leaf, and the weights are frozen. PGD that moves its image in place (`x.add_` under `no_grad`, or
# `x.data`) inside one `autocast` gets the loss and the gradient of the first image at every step: it walks straight on
# along the first gradient, and the network looks more robust than it is. Nothing is raised. With `cache_enabled=False`, with
# a context a step, or with a new leaf a step (`x = (x + step).detach().requires_grad_()`) the loss rises.
#
# The frozen weights, for their part, are converted anew in every pass, since they ask for no gradient: in ten passes
# through two layers 41 conversions, where weights that ask for one take 5, the image's among them.
#
# Output seen (AMD EPYC, torch 2.13.0+cpu):
#   PGD in place, one autocast: the loss stands still   cache_enabled=False: it rises   a new leaf a step: it rises
#   conversions: 41 frozen, 5 not
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$folder/climb.py" <<'PYTHON'
import torch
from torch.profiler import ProfilerActivity, profile

SIZE, BALL = 2 / 255, 8 / 255


def verdict(*, cache: bool = True, fresh: bool = False) -> str:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 3)).requires_grad_(False)
    clean = torch.rand(4, 3, 16, 16)
    image, losses = clean.clone().requires_grad_(), []
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=cache):
        for _ in range(6):
            loss = network(image).float().mean()
            (gradient,) = torch.autograd.grad(loss, image)
            losses.append(loss.item())
            with torch.no_grad():
                moved = (image + SIZE * gradient.sign()).clamp(clean - BALL, clean + BALL)
                image = moved.requires_grad_() if fresh else image.copy_(moved)
    return "stands still" if len(set(losses)) == 1 else "rises" if losses[-1] > losses[0] else "falls"


def conversions(*, frozen: bool) -> int:
    network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)).requires_grad_(not frozen)
    image = torch.rand(4, 64, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16), profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(10):
            with torch.no_grad():
                network(image)
    return sum(event.count for event in seen.key_averages() if event.key == "aten::_to_copy")


print(f"PGD in place, one autocast: the loss {verdict()}")
print(f"cache_enabled=False: it {verdict(cache=False)}")
print(f"a new leaf a step: it {verdict(fresh=True)}")
print(f"conversions: {conversions(frozen=True)} frozen, {conversions(frozen=False)} not")
PYTHON
"$folder/venv/bin/python" "$folder/climb.py" 2>/dev/null | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
PGD in place, one autocast: the loss stands still
cache_enabled=False: it rises
a new leaf a step: it rises
conversions: 41 frozen, 5 not
SEEN
