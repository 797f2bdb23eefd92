#!/usr/bin/env bash
# torchattacks 3.5.1, adversarial-robustness-toolbox 1.20.1: PGDL2 is weaker the larger the batch, and AutoPGD in L2 hardly moves
# images that PGD of the same toolbox fools one and all.
#
# A step in L2 is the gradient over its length. Both add a constant to that length, 1e-10 and 1e-7, so as not to divide
# by 0. The gradient of a cross-entropy shrinks by e for each unit of the margin between the logits, and by the size of the batch
# where the loss is its mean; float32 can hold numbers far smaller than either constant. At a margin of 28 the length here is below
# the first in a batch of one, and at one of 20 about the second: from there on a step is a small part of the step
# that was asked for. So the robust accuracy of the same images under the same attack rises with the batch size. Nothing
# tells it, for all steps are run. PGDL2 is put right by `eps_for_division=1e-30`. AutoPGD, of which the toolbox's AutoAttack is
# made, has no such parameter. Attacks in L-infinity take the sign and have none of this.
#
# Output seen, a linear network, 64 images, 20 steps, accuracy under attack:
#   margins 28 to 36: PGDL2 42 % in batches of 1, 67 % of 8, 94 % of 64   with eps_for_division=1e-30 0 % of 1 and of 64
#   margins 28 to 36: AutoPGD 94 % in batches of 1, 97 % of 64   PGD of the same toolbox 0 % of 1 and of 64
#   margins 14 to 22: AutoPGD 22 % in batches of 1, 34 % of 64   PGD of the same toolbox 0 % of 1 and of 64
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 scipy==1.17.1 requests==2.25.1 \
    tqdm==4.70.1 scikit-learn==1.9.1 six==1.17.0 packaging==26.3
# torchvision, which the first names, is never imported here.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps torchattacks==3.5.1 adversarial-robustness-toolbox==1.20.1
cat >"$folder/length.py" <<'PYTHON'
from collections.abc import Callable

import numpy as np
import torch
import torchattacks
from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier

Attack = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
BALL, STEP, STEPS, COUNT = 0.5, 0.1, 20, 64
torch.set_num_threads(1)
# The logits are the image along and against a pattern; the images are grey, with as much of the pattern as their margin takes.
pattern = 1 - 2.0 * (torch.arange(192) % 2)
labels = torch.arange(COUNT) % 2
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)).eval()
with torch.no_grad():
    network[1].weight.copy_(torch.stack([-5 * pattern, 5 * pattern]))
    network[1].bias.zero_()
wrapped = PyTorchClassifier(network, torch.nn.CrossEntropyLoss(), (3, 8, 8), 2, clip_values=(0, 1))


def robust(least: int, attack: Attack, batch: int) -> int:
    margins = torch.linspace(least, least + 8, COUNT)
    images = (0.5 + ((2 * labels - 1) * margins / 1920).unsqueeze(1) * pattern).reshape(COUNT, 3, 8, 8)
    np.random.seed(0)
    torch.manual_seed(0)
    parts = zip(images.split(batch), labels.split(batch), strict=True)
    attacked = torch.cat([attack(some, theirs) for some, theirs in parts])
    assert (network(images).argmax(1) == labels).all()
    assert (attacked - images).flatten(1).norm(dim=1).max() < BALL + 1e-4
    return round(100 * (network(attacked).argmax(1) == labels).float().mean().item())


def pgd(constant: float) -> Attack:
    how = {"eps": BALL, "alpha": STEP, "steps": STEPS, "random_start": False}
    return torchattacks.PGDL2(network, eps_for_division=constant, **how)


def toolbox(kind: type, **more: object) -> Attack:
    attack = kind(wrapped, norm=2, eps=BALL, eps_step=STEP, max_iter=STEPS, batch_size=COUNT, verbose=False, **more)
    return lambda some, theirs: torch.from_numpy(attack.generate(some.numpy(), theirs.numpy()))


plain = toolbox(ProjectedGradientDescent)
automatic = toolbox(AutoProjectedGradientDescent, nb_random_init=1, loss_type="cross_entropy")
seen = {}
for least, name, attack, batches in (
    (28, "PGDL2", pgd(1e-10), (1, 8, COUNT)),
    (28, "PGDL2 with eps_for_division=1e-30", pgd(1e-30), (1, COUNT)),
    (28, "AutoPGD", automatic, (1, COUNT)),
    (28, "PGD of the same toolbox", plain, (1, COUNT)),
    (14, "AutoPGD", automatic, (1, COUNT)),
    (14, "PGD of the same toolbox", plain, (1, COUNT)),
):
    figures = [robust(least, attack, batch) for batch in batches]
    told = ", ".join(f"{figure} % in batches of {batch}" for figure, batch in zip(figures, batches, strict=True))
    print(f"margins {least} to {least + 8}: {name} {told}")
    seen[least, name] = figures
(one, eight, every), small, high, low = (
    seen[key] for key in ((28, "PGDL2"), (28, "PGDL2 with eps_for_division=1e-30"), (28, "AutoPGD"), (14, "AutoPGD"))
)
exact = small + seen[28, "PGD of the same toolbox"] + seen[14, "PGD of the same toolbox"]
# Not the last digit: another processor may round otherwise.
if not (one + 15 < eight < every - 15 and min(high) > 80 and min(low) > 10 and low[0] < low[1] and not any(exact)):
    raise SystemExit("the behaviour has changed")
PYTHON
"$folder/venv/bin/python" "$folder/length.py" 2>"$folder/told" || { cat "$folder/told"; exit 1; }
