#!/usr/bin/env bash
# onnxruntime 1.32.0 and openvino 2026.4.1 (CPU): the largest value of a map that holds a NaN is a number, and in OpenVINO it may be the
# lowest there is.
#
# Exported detectors end in the largest value of their map, and the map in a root. A squared distance worked out as a product may fall just
# below zero, and its root is NaN. NumPy, torch and the reference implementation of ONNX itself score such an image NaN, which a line can
# catch. With ONNX Runtime a NaN counts at one place of the map alone, the first for ReduceMax and the last for GlobalMaxPool; elsewhere the
# score is that of the other pixels. With OpenVINO no score is ever NaN: a NaN at the last place, and a map of nothing else, score
# -3.4e38, below every threshold, though a defect of 3.0 lies in the middle of the map.
#
# Output seen (onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.1, numpy 2.4.6):
#   ReduceMax, a NaN at one of 4096 places: NaN from the reference at 4096, ONNX Runtime at 1, OpenVINO at 0
#   GlobalMaxPool, a NaN at one of 4096 places: NaN from the reference at 4096, ONNX Runtime at 1, OpenVINO at 0
#   ReduceMax, a defect of 3.0 and NaN in the middle: reference nan, ONNX Runtime 3, OpenVINO 3
#   ReduceMax, a defect of 3.0 and NaN at the last place: reference nan, ONNX Runtime 3, OpenVINO -3.4e+38
#   ReduceMax, NaN everywhere: reference nan, ONNX Runtime nan, OpenVINO -3.4e+38
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.4.6
cat >"$folder/score.py" <<'PYTHON'
from collections.abc import Callable

import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.reference import ReferenceEvaluator

SIDE = 64
Score = Callable[[np.ndarray], float]


def network(largest: str) -> bytes:
    """The root of squared distances, and its largest value."""
    nodes = [make_node("Sqrt", ["squares"], ["map"]), make_node(largest, ["map"], ["score"])]
    given = [make_tensor_value_info("squares", TensorProto.FLOAT, [1, 1, SIDE, SIDE])]
    made = [make_tensor_value_info("score", TensorProto.FLOAT, [1, 1, 1, 1])]
    graph = make_graph(nodes, "detector", given, made)
    return make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8).SerializeToString()


def runtimes(model: bytes) -> dict[str, Score]:
    reference = ReferenceEvaluator(model)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU")
    return {
        "reference": lambda squares: reference.run(None, {"squares": squares})[0].item(),
        "ONNX Runtime": lambda squares: session.run(None, {"squares": squares})[0].item(),
        "OpenVINO": lambda squares: compiled(squares)[0].item(),
    }


squares = np.random.default_rng(0).random((1, 1, SIDE, SIDE), np.float32)
squares[..., 20:24, 30:34] = 9.0


def below_zero(*places: int) -> np.ndarray:
    changed = squares.copy()
    changed.reshape(-1)[list(places)] = -1e-7
    return changed


np.seterr(invalid="ignore")
for largest in ("ReduceMax", "GlobalMaxPool"):
    kept = {
        name: sum(np.isnan(score(below_zero(place))) for place in range(squares.size))
        for name, score in runtimes(network(largest)).items()
    }
    told = ", ".join(f"{name} at {count}" for name, count in kept.items())
    print(f"{largest}, a NaN at one of {squares.size} places: NaN from the {told}")
cases = {
    "a defect of 3.0 and NaN in the middle": below_zero(squares.size // 2),
    "a defect of 3.0 and NaN at the last place": below_zero(squares.size - 1),
    "NaN everywhere": below_zero(*range(squares.size)),
}
for case, image in cases.items():
    scores = ", ".join(f"{name} {score(image):.2g}" for name, score in runtimes(network("ReduceMax")).items())
    print(f"ReduceMax, {case}: {scores}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/score.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
ReduceMax, a NaN at one of 4096 places: NaN from the reference at 4096, ONNX Runtime at 1, OpenVINO at 0
GlobalMaxPool, a NaN at one of 4096 places: NaN from the reference at 4096, ONNX Runtime at 1, OpenVINO at 0
ReduceMax, a defect of 3.0 and NaN in the middle: reference nan, ONNX Runtime 3, OpenVINO 3
ReduceMax, a defect of 3.0 and NaN at the last place: reference nan, ONNX Runtime 3, OpenVINO -3.4e+38
ReduceMax, NaN everywhere: reference nan, ONNX Runtime nan, OpenVINO -3.4e+38
SEEN
