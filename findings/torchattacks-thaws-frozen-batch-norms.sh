#!/usr/bin/env bash
# torchattacks 3.5.1: after an attack, layers that were held in evaluation mode inside a network in training are in training.
#
# An attack puts its model in evaluation mode and afterwards back, by the flag of the outermost module alone: where that one
# was in training, `train()` on the whole follows. Fine-tuning holds batch norms of a pretrained backbone (or dropout) in
# evaluation mode one by one; the first batch of adversarial examples thaws them, and from the next forward pass on their
# running means drift towards the batches. Nothing is said, and the loss falls as before; what is lost shows in evaluation.
# `set_model_training_mode(...)` chooses the mode during the attack and does not keep it from thawing. A model that is in
# evaluation mode as a whole stays as it was.
#
# Output seen:
#   before the attack: network True, batch norm False, running mean kept
#   after it: network True, batch norm True, running mean moved
#   after one told to hold batch norms: network True, batch norm True, running mean moved
#   in evaluation as a whole: network False, batch norm False, running mean kept
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 scipy==1.17.1 requests==2.25.1 tqdm==4.70.1
# torchvision, which it names, is never imported here.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps torchattacks==3.5.1
cat >"$folder/thaw.py" <<'PYTHON'
import torch
import torchattacks

images, labels = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2


def modes(network: torch.nn.Sequential) -> str:
    return f"network {network.training}, batch norm {network[1].training}"


def mean(network: torch.nn.Sequential) -> str:
    before = network[1].running_mean.clone()
    network(images)
    return "moved" if (network[1].running_mean != before).any() else "kept"


def made() -> torch.nn.Sequential:
    parts = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(144, 2)
    return torch.nn.Sequential(*parts)


network = made().train()
network[1].eval()
print(f"before the attack: {modes(network)}, running mean {mean(network)}")
torchattacks.PGD(network, steps=2)(images, labels)
print(f"after it: {modes(network)}, running mean {mean(network)}")
chosen = made().train()
chosen[1].eval()
attack = torchattacks.PGD(chosen, steps=2)
attack.set_model_training_mode(model_training=True, batchnorm_training=False)
attack(images, labels)
print(f"after one told to hold batch norms: {modes(chosen)}, running mean {mean(chosen)}")
still = made().eval()
torchattacks.PGD(still, steps=2)(images, labels)
print(f"in evaluation as a whole: {modes(still)}, running mean {mean(still)}")
PYTHON
"$folder/venv/bin/python" "$folder/thaw.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
before the attack: network True, batch norm False, running mean kept
after it: network True, batch norm True, running mean moved
after one told to hold batch norms: network True, batch norm True, running mean moved
in evaluation as a whole: network False, batch norm False, running mean kept
SEEN
