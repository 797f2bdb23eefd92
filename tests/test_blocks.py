"""Units, attention, strides and dilations, initialisation."""

import pytest
import torch
from learning import noise
from torch import nn
from torch.nn import functional as F

from omnial_bench.models.blocks import (
    DCSA,
    Encoder,
    Localiser,
    Norm,
    Reconstructor,
    Style,
    initialise,
    recompute_features,
    unit,
)
from omnial_bench.models.instance_norm import InstanceNorm


@pytest.mark.parametrize(
    ("output_stride", "strides"),
    [(2, [1, 2, 2, 2, 2, 2]), (4, [1, 2, 4, 4, 4, 4]), (8, [1, 2, 4, 8, 8, 8]), (32, [1, 2, 4, 8, 16, 32])],
)
def test_strides_stop_at_the_output_stride(output_stride: int, strides: list[int]) -> None:
    style = Style(output_stride=output_stride)
    assert style.strides(6) == strides
    scales = Encoder(3, [2, 3, 4, 5, 6, 7], style).eval()(noise(1, 3, 64, 32))
    assert [tuple(scale.shape[1:]) for scale in scales] == [
        (width, 64 // stride, 32 // stride) for width, stride in zip([2, 3, 4, 5, 6, 7], strides, strict=True)
    ]


def test_dilations_start_at_the_third_scale() -> None:
    assert Style(dilated=True).dilations(6) == [1, 1, 2, 4, 8, 16]
    assert Style().dilations(6) == [1, 1, 1, 1, 1, 1]
    style = Style(dilated=True, channel_attention=True, spatial_attention=True, output_stride=4)
    network = Localiser(inputs=3, classes=2, width=4, style=style)
    for stage, dilation in zip(network.encoder.stages, [1, 1, 2, 4, 8, 16], strict=True):
        convolutions = [part for part in stage.modules() if isinstance(part, nn.Conv2d)]
        found = [part.dilation[0] for part in convolutions if part.kernel_size == (3, 3)]
        assert found == [dilation, dilation, 1, dilation]  # the block's two, DCSA's near path, DCSA's far path
    assert {conv.dilation for conv in network.levels.modules() if isinstance(conv, nn.Conv2d)} == {(1, 1)}


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("channels", [1, 5, 16])
def test_instance_norm_and_its_gradients_are_those_of_group_norm(channels: int, autocast: bool) -> None:
    norm, peer = InstanceNorm(channels), nn.GroupNorm(channels, channels)
    norm.load_state_dict({"weight": noise(channels) + 0.5, "bias": noise(channels, seed=1)})
    peer.load_state_dict(norm.state_dict())
    dtype = torch.bfloat16 if autocast else torch.float32
    values, slopes = ((noise(3, channels, 9, 7, seed=seed) - 0.5).to(dtype) for seed in (2, 3))
    made = []
    for part in (norm, peer):
        features = values.clone(memory_format=torch.channels_last).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            normalised = part(features)
        # One slope that lies in channels-last order, and one that is expanded, as a mean's is.
        made.append([normalised])
        for slope in (
            slopes.to(normalised.dtype, memory_format=torch.channels_last),
            slopes[0, 0, 0, 0].expand_as(values),
        ):
            made[-1] += torch.autograd.grad(normalised, (features, part.weight, part.bias), slope, retain_graph=True)
    for ours, theirs in zip(*made, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=0.02 if autocast else 1e-4, atol=0.05 if autocast else 1e-5)


def test_channel_attention_is_added_from_the_global_mean() -> None:
    attention = DCSA(2, Style(channel_attention=True))
    squeeze, _, excite = attention.channel
    with torch.no_grad():
        squeeze.weight.zero_()
        squeeze.bias.zero_()
        squeeze.weight[0, 0] = 1  # hidden 0 = mean of channel 0
        squeeze.weight[1, 1] = -1  # hidden 1 = minus that of channel 1, which ReLU cuts
        excite.weight.zero_()
        excite.weight[0, 1] = 10
        excite.weight[1, 0] = 2
        excite.bias.copy_(torch.tensor([0.5, 0.25]))
    features = torch.tensor([[[[1.0, 3.0]], [[5.0, 7.0]]]])
    expected = torch.tensor([[[[1.5, 3.5]], [[5 + 4.25, 7 + 4.25]]]])
    torch.testing.assert_close(attention(features), expected)


def test_spatial_attention_adds_a_tenth_of_the_dilated_path() -> None:
    attention = DCSA(3, Style(spatial_attention=True), dilation=2).eval()
    with torch.no_grad():
        for part, channel, tap in ((attention.near, 0, (1, 1)), (attention.far, 1, (1, 2))):
            part[0].weight.zero_()
            part[0].bias.zero_()
            part[0].weight[0, channel, tap[0], tap[1]] = 1
    features = noise(1, 3, 5, 5)
    scale = (1 + 1e-5) ** -0.5  # of a batch norm that has seen nothing
    right = F.pad(features.amax(1, keepdim=True), (0, 2))[..., 2:]  # two pixels to the right, as dilation 2 reaches
    expected = features + scale * (features.mean(1, keepdim=True) + 0.1 * right)
    torch.testing.assert_close(attention(features), expected)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_channels_last_survives_every_convolution(norm: str) -> None:
    style = Style(norm=norm, dilated=True, output_stride=4, channel_attention=True, spatial_attention=True)  # type: ignore[arg-type]
    network = Reconstructor(outputs=4, width=4, style=style).to(memory_format=torch.channels_last)
    for name, part in network.named_modules():
        if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3) and part.in_channels > 3:
            part.register_forward_pre_hook(
                lambda _, inputs, name=name: (
                    pytest.fail(name) if not inputs[0].is_contiguous(memory_format=torch.channels_last) else None
                )
            )
    output = network(noise(2, 3, 16, 16).contiguous(memory_format=torch.channels_last))
    assert output.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [12, 16, 20, 24, 40])
def test_dilated_gradients_in_bfloat16_are_those_of_float32(channels: int) -> None:
    """Beyond 16 input channels that do not fill sixteens, oneDNN's were not finite.

    Features, weights, and the slope that comes back are rounded by up to 0.4 % each: all three ways, 1.2 %.
    """
    torch.manual_seed(0)
    layer, features = unit(channels, 8, dilation=2)[0], noise(4, channels, 32, 32)
    layer.to(memory_format=torch.channels_last)
    found = []
    for enabled in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            layer(features.contiguous(memory_format=torch.channels_last)).float().square().mean().backward()
        found.append(layer.weight.grad.clone())
    assert torch.isfinite(found[1]).all()
    assert torch.allclose(found[1], found[0], atol=0.02 * float(found[0].abs().max()))


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_initialisation_draws_the_published_distributions(norm: str) -> None:
    part = unit(64, 512, norm=norm)  # type: ignore[arg-type]
    with torch.no_grad():
        part[1].bias.fill_(3)
    initialise(part, torch.Generator().manual_seed(0))
    assert part[0].weight.mean().abs() < 2e-4
    assert part[0].weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert part[1].weight.mean().item() == pytest.approx(1.0, abs=0.004)
    assert part[1].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert part[1].bias.abs().max() == 0
    bound = (64 * 9) ** -0.5
    assert 0.98 * bound < part[0].bias.abs().max() <= bound


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_features_made_twice_take_less_memory(norm: Norm) -> None:
    """That they change no weight is held by `test_training.py`."""
    network, kept = Localiser(inputs=3, classes=2, width=4, style=Style(norm=norm, channel_attention=True)), []
    for on in (False, True):
        recompute_features(network, on)
        sizes: list[int] = []

        def note(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            network(noise(2, 3, 64, 64).requires_grad_())
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 3
