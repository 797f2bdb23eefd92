"""OmniAL: its switches, the ablation rows, DiffNeck, sizes."""

import pytest
import torch
from learning import batch, noise, tiny, totals_of
from torch import nn

from omnial_bench.config.load import read_recipe
from omnial_bench.errors import UserError
from omnial_bench.models.blocks import DCSA, initialise
from omnial_bench.models.omnial import DiffNeck, OmniAL, Options

# The paper's Table 3, a row each; the first panel tick of each later row is read as on.
TICKS = ("010010100", "110010100", "101010100", "101110110", "101111110", "101110111", "101111111")


@pytest.mark.parametrize(("number", "ticks"), list(enumerate(TICKS, 1)))
def test_every_ablation_row_is_the_papers_and_trains_a_step(number: int, ticks: str) -> None:
    record = f"omnial-row{number}"
    options = read_recipe(record, "tiny").options
    detector = tiny("omnial", **{name: value for name, value in options.items() if "width" not in name})
    networks = detector.reconstruction, detector.localisation
    instance, batchwise = ([has(network, kind) for network in networks] for kind in (nn.GroupNorm, nn.BatchNorm2d))
    dilated = [
        any(getattr(part, "dilation", 1) not in (1, (1, 1)) for part in network.modules()) for network in networks
    ]
    attentions = [part for part in detector.modules() if isinstance(part, DCSA)]
    assert len(attentions) == 5 + 4 + 6 + 5  # every scale and decoder level of both networks
    ((by_channel, by_place),) = {(part.channel is not None, part.near is not None) for part in attentions}
    panels = read_recipe(record, "small").options.get("panels", Options().panels)
    found = [
        panels, batchwise[0], instance[0], dilated[0], by_channel, by_place, batchwise[1], dilated[1],
        has(detector, DiffNeck),
    ]  # fmt: skip
    assert found == [tick == "1" for tick in ticks] and not instance[1]
    totals = totals_of(detector, batch(), ["mse_image", "ssim_image", "mse_jnd", "ssim_jnd", "focal"], steps=3)
    assert totals[-1] < totals[0]


def has(network: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(part, kind) for part in network.modules())


def test_the_reconstruction_at_width_64_has_the_published_size_before_attention() -> None:
    options = Options(channel_attention=False, spatial_attention=False)
    with torch.device("meta"):
        detector = OmniAL(options)
    # 17,271,939 with three outputs; the JND map adds a fourth filter.
    assert sum(part.numel() for part in detector.reconstruction.parameters()) == 17_271_939 + 64 * 9 + 1


@pytest.mark.parametrize("output_stride", [2, 4, 8, 32])
def test_output_stride_is_the_coarsest_of_the_localisation(output_stride: int) -> None:
    detector = tiny("omnial", output_stride=output_stride).eval()
    sides = []
    detector.localisation.encoder.stages[-1].register_forward_hook(lambda *seen: sides.append(seen[2].shape[-2:]))
    detector(noise(1, 3, 32, 64))
    assert sides == [(32 // output_stride, 64 // output_stride)]
    with pytest.raises(UserError, match=f"{output_stride} divides"):
        detector(noise(1, 3, 32, 33))


def test_diffneck_weighs_the_separate_paths_by_a_tenth() -> None:
    neck = DiffNeck(3).eval()
    initialise(neck, torch.Generator().manual_seed(0))
    joint = noise(1, 7, 8, 8)
    rec, jnd, inp = joint[:, :3], joint[:, 3:4], joint[:, 4:]
    image, depth = neck.image(torch.cat((rec, inp), 1)), neck.jnd(torch.cat((jnd, inp), 1))
    torch.testing.assert_close(neck(joint), neck.joint(torch.cat((rec, jnd, inp), 1)) + 0.1 * image + 0.1 * depth)
    assert [part[0].in_channels for part in (neck.joint, neck.image, neck.jnd)] == [7, 6, 4]
