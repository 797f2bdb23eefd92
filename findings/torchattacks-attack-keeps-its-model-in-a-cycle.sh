#!/usr/bin/env bash
# torchattacks 3.5.1: a model outlives the attack that was made on it, and the last reference to it, until the garbage
# collector comes by.
#
# The setter of attributes of an attack looks for other attacks in each value, with a function inside it that calls
# itself and has a list for a default: function, closure and list refer to each other, and the list holds the value. So
# whatever is assigned to an attack (the model, first of all, and images or losses that a subclass keeps) stays in memory
# after `del`. Tensors are few objects, and the collector counts objects and not bytes: models of a loop pile up, and on
# an accelerator so does its memory. `gc.collect()` after each attack frees them, and so does a subclass whose setter is
# that of `object`.
#
# Output seen, of a layer of the model once nothing refers to it:
#   never attacked: gone   attacked: there   attacked, with a plain setter: gone   after gc.collect(): gone
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 scipy==1.17.1 requests==2.25.1 tqdm==4.70.1
# torchvision, which it names, is never imported here.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps torchattacks==3.5.1
cat >"$folder/keep.py" <<'PYTHON'
import gc
import weakref
from collections.abc import Callable

import torch
import torchattacks


class Plain(torchattacks.PGD):
    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def left(attack: Callable[[torch.nn.Module], object] | None) -> weakref.ref[torch.nn.Module]:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    if attack is not None:
        attack(model)(torch.rand(2, 3, 2, 2), torch.tensor([0, 1]))
    return weakref.ref(model[1])


def word(model: weakref.ref[torch.nn.Module]) -> str:
    return "gone" if model() is None else "there"


gc.disable()
print(f"never attacked: {word(left(None))}")
attacked = left(torchattacks.PGD)
print(f"attacked: {word(attacked)}")
print(f"attacked, with a plain setter: {word(left(Plain))}")
gc.collect()
print(f"after gc.collect(): {word(attacked)}")
PYTHON
"$folder/venv/bin/python" "$folder/keep.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
never attacked: gone
attacked: there
attacked, with a plain setter: gone
after gc.collect(): gone
SEEN
