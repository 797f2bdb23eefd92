#!/usr/bin/env bash
# torchattacks 3.5.1: AutoAttack raises IndexError on networks of two and three classes, also where `n_classes` says so.
#
# Its second attack, targeted APGD, aims at the other classes from the second highest on, and has no count that follows from
# `n_classes` for few of them: it indexes a class that is not there. So nothing with two outputs a pixel or an image (normal
# and anomalous) can be put through it, nor through `APGDT` alone; five classes go. The message names neither the attack nor
# the parameter. Untargeted APGD, targeted FAB and Square, of which the rest of AutoAttack is made, take two classes as they
# are.
#
# Output seen:
#   2 classes: AutoAttack IndexError, APGDT IndexError, APGD fine, FAB fine, Square fine
#   3 classes: AutoAttack IndexError, APGDT IndexError, APGD fine, FAB fine, Square fine
#   5 classes: AutoAttack fine, APGDT fine, APGD fine, FAB fine, Square fine
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 scipy==1.17.1 requests==2.25.1 tqdm==4.70.1
# torchvision, which it names, is never imported here.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps torchattacks==3.5.1
cat >"$folder/classes.py" <<'PYTHON'
import torch
import torchattacks

images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def outcome(attack: torchattacks.attack.Attack, labels: torch.Tensor) -> str:
    try:
        attack(images, labels)
    except IndexError as error:
        return type(error).__name__
    return "fine"


for classes in (2, 3, 5):
    torch.manual_seed(classes)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, classes)).eval()
    # A small ball, so that images are left for the later attacks.
    attacks = {
        "AutoAttack": torchattacks.AutoAttack(network, eps=1e-4, n_classes=classes),
        "APGDT": torchattacks.APGDT(network, eps=1e-4, steps=2, n_classes=classes),
        "APGD": torchattacks.APGD(network, eps=1e-4, steps=2),
        "FAB": torchattacks.FAB(network, eps=1e-4, steps=2, n_classes=classes, multi_targeted=True),
        "Square": torchattacks.Square(network, eps=1e-4, n_queries=5),
    }
    labels = network(images).argmax(1)
    print(f"{classes} classes: " + ", ".join(f"{name} {outcome(attack, labels)}" for name, attack in attacks.items()))
PYTHON
"$folder/venv/bin/python" "$folder/classes.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
2 classes: AutoAttack IndexError, APGDT IndexError, APGD fine, FAB fine, Square fine
3 classes: AutoAttack IndexError, APGDT IndexError, APGD fine, FAB fine, Square fine
5 classes: AutoAttack fine, APGDT fine, APGD fine, FAB fine, Square fine
SEEN
