"""ONNX files of a few nodes, written byte by byte, for neither onnx nor an exporter need be installed."""

from collections.abc import Sequence
from pathlib import Path

FLOAT, INT64, BOOL = 1, 7, 9
Sides = Sequence[int | str]


def _varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def value_info(name: str, kind: int, sides: Sides) -> bytes:
    dims = b"".join(_bytes(1, _bytes(2, side) if isinstance(side, str) else _number(1, side)) for side in sides)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, dims)))


def node(kind: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> bytes:
    found = b"".join(_bytes(1, name) for name in inputs) + _bytes(2, output) + _bytes(4, kind)
    for name, value in attributes.items():
        if isinstance(value, int):
            found += _bytes(5, _bytes(1, name) + _number(3, value) + _number(20, 2))
        else:
            found += _bytes(5, _bytes(1, name) + b"".join(_number(8, one) for one in value) + _number(20, 7))
    return found


def write(path: Path, nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> Path:
    """A model of opset 13."""
    graph = b"".join(_bytes(1, one) for one in nodes) + _bytes(2, "graph")
    graph += b"".join(_bytes(11, one) for one in inputs) + b"".join(_bytes(12, one) for one in outputs)
    path.write_bytes(_number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _number(2, 13)))
    return path


def bright(path: Path, sides: Sides = ("b", 3, "h", "w"), *, kind: int = FLOAT, labels: bool = True) -> Path:
    """The mean over the channels as the map, its largest value as the score, and a label that is no score."""
    batch, _, *size = sides
    nodes = [
        node("ReduceMean", ["images"], "anomaly_map", axes=[1], keepdims=1),
        node("ReduceMax", ["anomaly_map"], "pred_score", axes=[1, 2, 3], keepdims=0),
        node("Cast", ["pred_score"], "pred_label", to=INT64),
    ]
    outputs = [value_info("pred_score", kind, [batch]), value_info("anomaly_map", kind, [batch, 1, *size])]
    if labels:
        outputs.append(value_info("pred_label", INT64, [batch]))
    return write(path, nodes, [value_info("images", kind, sides)], outputs)
