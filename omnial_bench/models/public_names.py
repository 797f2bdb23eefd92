"""What public files call the weights of a network, and what they are called here."""

from collections.abc import Iterable, Mapping

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
