#!/usr/bin/env bash
# torchattacks 3.5.1: APGD, Square and FAB set torch's global generator to 0 in every call, so all that is drawn after a batch
# of attacks is the same after each of them.
#
# Their parameter `seed` is 0 where it is not given, and goes to `torch.random.manual_seed` at each call, not once at the
# start. PGD draws from the generator as it stands. With any of the three in a training on adversarial examples, the
# augmentation, dropout masks and noise of every step are those of the first, and every batch starts from the same random
# numbers, whatever the user has seeded; with an order drawn after an attack, every epoch has the same. The loss falls as
# usual. `torch.random.fork_rng()` around the call keeps the generator.
#
# Output seen, the next draw after an attack under three seeds of the user's:
#   PGD: 3 numbers
#   APGD: 1 number
#   Square: 1 number
#   FAB: 1 number
#   APGD in fork_rng: 3 numbers
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 scipy==1.17.1 requests==2.25.1 tqdm==4.70.1
# torchvision, which it names, is never imported here.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps torchattacks==3.5.1
cat >"$folder/draws.py" <<'PYTHON'
from contextlib import nullcontext

import torch
import torchattacks

network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4)).eval()
images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
attacks = {
    "PGD": torchattacks.PGD(network, steps=2),
    "APGD": torchattacks.APGD(network, steps=2),
    "Square": torchattacks.Square(network, n_queries=5),
    "FAB": torchattacks.FAB(network, steps=2, n_classes=4),
}


def draws(attack: torchattacks.attack.Attack, forked: bool) -> str:
    drawn = set()
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        with torch.random.fork_rng() if forked else nullcontext():
            attack(images, torch.arange(4))
        drawn.add(torch.rand(()).item())
    return f"{len(drawn)} number{'s' * (len(drawn) > 1)}"


for name, attack in attacks.items():
    print(f"{name}: {draws(attack, forked=False)}")
print(f"APGD in fork_rng: {draws(attacks['APGD'], forked=True)}")
PYTHON
"$folder/venv/bin/python" "$folder/draws.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
PGD: 3 numbers
APGD: 1 number
Square: 1 number
FAB: 1 number
APGD in fork_rng: 3 numbers
SEEN
