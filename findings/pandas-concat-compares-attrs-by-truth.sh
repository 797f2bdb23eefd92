#!/usr/bin/env bash
# pandas 3.1.1: a frame of results that carries another frame in `attrs` cannot be concatenated with a second one.
#
# `DataFrame.attrs` takes any value, and copies, slices and sums of frames go through. `concat` keeps the attrs of its
# inputs where they are alike, asks with `==`, and takes the answer for a truth value: with a frame or an array in them
# that has more than one element it raises "The truth value ... is ambiguous", whatever is concatenated. Where one
# input alone has such attrs nothing is raised.
#
# Output seen:
#   frames, two inputs: ValueError   arrays, two inputs: ValueError   frames, one input: fine   numbers, two inputs: fine
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 numpy==2.4.6
cat >"$folder/join.py" <<'PYTHON'
import numpy as np
import pandas as pd


def rows(value: float, kept: object) -> pd.DataFrame:
    table = pd.DataFrame({"metric": ["auroc"], "value": [value]})
    if kept is not None:
        table.attrs["checks"] = kept
    return table


def checks() -> pd.DataFrame:
    return pd.DataFrame({"check": ["one", "two"], "status": ["passed", "failed"]})


for name, first, second in (
    ("frames, two inputs", checks(), checks()),
    ("arrays, two inputs", np.arange(2), np.arange(2)),
    ("frames, one input", checks(), None),
    ("numbers, two inputs", 1, 1),
):
    try:
        pd.concat([rows(0.5, first), rows(0.6, second)])
        print(f"{name}: fine")
    except ValueError as error:
        print(f"{name}: ValueError, {str(error)[:20]}")
PYTHON
"$folder/venv/bin/python" "$folder/join.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
frames, two inputs: ValueError, The truth value of a
arrays, two inputs: ValueError, The truth value of a
frames, one input: fine
numbers, two inputs: fine
SEEN
