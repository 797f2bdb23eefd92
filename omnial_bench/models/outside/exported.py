"""Exported models (ONNX), through onnxruntime, which is imported when one is opened: scored, and attacked by forward
passes alone."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omnial_bench.errors import UserError, line_of
from omnial_bench.models.outside.gradients import ForwardOnly
from omnial_bench.types import RGB

FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
"""onnxruntime's names of the types that an output may have."""


class Exported(nn.Module):
    """An onnxruntime session from images (b, 3, h, w) in [0, 1] to a map, or a pair of map and image score.

    Computes on the CPU and gives its outputs where the images are. A model of a fixed batch size is fed that many
    at once, the last ones repeated.
    """

    fingerprint: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self, path: Path, *, maps: str | None, score: str | None, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.path, self.session = path, _opened(path)
        self.input, self.batch, self.size = _input_of(self.session, path)
        self.outputs = _outputs_of(self.session, path, maps, score)
        # What tells the weights of one file from those of another.
        self.register_buffer("fingerprint", torch.tensor(list(hashlib.sha256(path.read_bytes()).digest())).byte())
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != 3 or (name == "std" and min(values) <= 0):
                raise UserError(f"expected three numbers for {name}, above 0 for std, got {list(values)}")
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None])

    def forward(self, images: RGB) -> Tensor | tuple[Tensor, Tensor]:
        """UserError for images of a size that the model does not take, and where onnxruntime fails."""
        for want, got in zip(self.size, images.shape[2:], strict=True):
            if want not in (None, got):
                height, width = (side if side is not None else "any" for side in self.size)
                raise UserError(
                    f"{self.path} takes images of {height}x{width}, got {images.shape[2]}x{images.shape[3]}; "
                    "give that size"
                )
        inputs = ((images - self.mean) / self.std).float().cpu()
        parts = [self._run(part) for part in torch.split(inputs, self.batch or len(inputs))]
        outputs = [torch.cat(values).float().to(images.device) for values in zip(*parts, strict=True)]
        return outputs[0] if len(outputs) == 1 else (outputs[0], outputs[1])

    def _run(self, images: Tensor) -> list[Tensor]:
        missing = (self.batch or len(images)) - len(images)
        fed = torch.cat((images, images[-1:].expand(missing, -1, -1, -1))) if missing else images
        try:
            values = self.session.run(list(self.outputs), {self.input: fed.contiguous().numpy()})
        except Exception as error:
            raise UserError(f"{self.path} failed: {line_of(error)}"[:300]) from error
        return [torch.from_numpy(value)[: len(images)] for value in values]


def from_onnx(
    path: str | Path,
    *,
    maps: str | None = None,
    score: str | None = None,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> nn.Module:
    """An ONNX file as a module for `benchmark`, which has no gradient: it is scored, attacked by forward passes alone
    (Square, noise, corruptions), and shown what was made on other models.

    The input is float32 of shape (b, 3, h, w), RGB in [0, 1], which `mean` and `std` normalise first; b, h and w may be
    free. `maps` names the output that is the anomaly map, (b, h, w) or (b, 1, h, w), and `score` the image score, (b)
    or (b, 1): by default the only float outputs of these shapes. UserError where onnxruntime is missing, and for a file
    that is no model of this kind.
    """
    return ForwardOnly(Exported(Path(path), maps=maps, score=score, mean=mean, std=std)).eval()


def _opened(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("ONNX models want onnxruntime; try pip install omnial-bench[onnx]") from error
    if not path.is_file():
        raise UserError(f"no ONNX model at {path}; check the path")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"{path} is no ONNX model that can be run: {line_of(error)}"[:300]) from error


def _input_of(session: Any, path: Path) -> tuple[str, int | None, tuple[int | None, int | None]]:
    """Its name, the batch size and the height and width, each None where it is free."""
    inputs = session.get_inputs()
    listed = "; ".join(f"{image.name} {image.type} {_shape(image)}" for image in inputs)
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        raise UserError(f"expected one float32 input of shape (b, 3, h, w) of {path}, got {listed}; export it so")
    sides = [side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape]
    if sides[1] not in (None, 3):
        raise UserError(f"expected images with the 3 channels first for {path}, got {listed}; export it so")
    return inputs[0].name, sides[0], (sides[2], sides[3])


def _outputs_of(session: Any, path: Path, maps: str | None, score: str | None) -> tuple[str, ...]:
    outputs = {output.name: output for output in session.get_outputs()}
    listed = "; ".join(f"{output.name} {output.type} {_shape(output)}" for output in outputs.values())
    for name in (maps, score):
        if name is not None and (name not in outputs or outputs[name].type not in FLOATS):
            raise UserError(f"{path} has no float output {name!r}; it has {listed}")
    floats = [output for output in outputs.values() if output.type in FLOATS]
    if maps is None:
        maps = _only([output.name for output in floats if len(output.shape) in (3, 4)], "maps", path, listed)
    scores = [output.name for output in floats if len(output.shape) in (1, 2) and output.name != maps]
    if score is None and scores:
        score = _only(scores, "score", path, listed)
    return (maps,) if score is None else (maps, score)


def _only(names: list[str], what: str, path: Path, listed: str) -> str:
    if len(names) != 1:
        raise UserError(f"expected one output of {path} to be its {what}, got {listed}; name it with {what}=")
    return names[0]


def _shape(value: Any) -> str:
    return "x".join(str(side) for side in value.shape) or "without a shape"
