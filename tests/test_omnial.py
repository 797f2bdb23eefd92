"""OmniAL: its switches, the ablation rows, DiffNeck, sizes, the training step."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from learning import noise, totals_of
from torch import nn

from omnial_bench.config import load as reading
from omnial_bench.errors import UserError
from omnial_bench.models import omnial
from omnial_bench.models.blocks import DCSA, initialise
from omnial_bench.models.omnial import DiffNeck, OmniAL, Options
from omnial_bench.types import Synthetic

TINY = Options(width=4, loc_width=4, pooling=5, smoothing=3)

# The ticks of the paper's Table 3; the first panel tick of each later row is read as on.
COLUMNS = (
    "panel_synthesis", "rec_bb_bn", "rec_bb_in", "rec_bb_dilated", "dcsa_channel_att", "dcsa_dilated_spatial_att",
    "seg_bb_bn", "seg_bb_dilated", "diffneck",
)  # fmt: skip
TABLE_3 = ("010010100", "110010100", "101010100", "101110110", "101111110", "101110111", "101111111")
ROWS = [
    {"record": f"omnial-row{number}", **dict(zip(COLUMNS, ticks, strict=True))}
    for number, ticks in enumerate(TABLE_3, 1)
]


def build(options: Options = TINY) -> OmniAL:
    detector = OmniAL(options)
    initialise(detector, torch.Generator().manual_seed(0))
    return detector


def batch() -> Synthetic:
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    labels[0, :24] = torch.arange(24)[:, None] // 8 + 1
    return Synthetic(noise(2, 3, 32, 32), noise(2, 3, 32, 32, seed=1), labels, 0.3 * noise(2, 1, 32, 32, seed=2))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["record"])
def test_every_ablation_row_runs_and_trains_a_step(row: dict[str, str]) -> None:
    asked = reading.read_recipe(row["record"], "tiny").options
    detector = build(
        replace(TINY, **{name: asked[name] for name in asked if not hasattr(TINY, name) or "width" not in name})
    )
    assert reading.read_recipe(row["record"], "small").options.get("panels", Options().panels) == (
        row["panel_synthesis"] == "1"
    )
    parts = list(detector.modules())
    rec, loc = list(detector.reconstruction.modules()), list(detector.localisation.modules())
    assert any(isinstance(part, nn.BatchNorm2d) for part in rec) == (row["rec_bb_bn"] == "1")
    assert any(isinstance(part, nn.GroupNorm) for part in rec) == (row["rec_bb_in"] == "1")
    assert not any(isinstance(part, nn.GroupNorm) for part in loc)
    for network, column in ((rec, "rec_bb_dilated"), (loc, "seg_bb_dilated")):
        dilated = any(isinstance(part, nn.Conv2d) and part.dilation != (1, 1) for part in network)
        assert dilated == (row[column] == "1")
    attentions = [part for part in parts if isinstance(part, DCSA)]
    assert len(attentions) == 5 + 4 + 6 + 5  # every scale and decoder level of both networks
    assert {part.channel is not None for part in attentions} == {row["dcsa_channel_att"] == "1"}
    assert {part.near is not None for part in attentions} == {row["dcsa_dilated_spatial_att"] == "1"}
    assert any(isinstance(part, DiffNeck) for part in parts) == (row["diffneck"] == "1")

    totals = totals_of(detector, batch(), ["mse_image", "ssim_image", "mse_jnd", "ssim_jnd", "focal"], steps=3)
    assert totals[-1] < totals[0]


def test_the_reconstruction_at_width_64_has_the_published_size_before_attention() -> None:
    options = Options(channel_attention=False, spatial_attention=False)
    with torch.device("meta"):
        detector = OmniAL(options)
    # 17,271,939 with three outputs; the JND map adds a fourth filter.
    assert sum(part.numel() for part in detector.reconstruction.parameters()) == 17_271_939 + 64 * 9 + 1


@pytest.mark.parametrize("output_stride", [2, 4, 8, 32])
def test_output_stride_is_the_coarsest_of_the_localisation(output_stride: int) -> None:
    detector = build(replace(TINY, output_stride=output_stride)).eval()  # type: ignore[arg-type]
    sides = []
    detector.localisation.encoder.stages[-1].register_forward_hook(lambda *seen: sides.append(seen[2].shape[-2:]))
    prediction = detector(noise(1, 3, 32, 64))
    assert sides == [(32 // output_stride, 64 // output_stride)]
    assert prediction.logits.shape == (1, 4, 32, 64)
    assert prediction.reconstruction.shape == (1, 3, 32, 64)
    assert (prediction.smoothing, prediction.pooling) == (3, 5)
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


@pytest.mark.parametrize("diffneck", [True, False])
def test_the_gradient_reaches_the_image_through_the_reconstruction_and_straight(diffneck: bool) -> None:
    images = noise(1, 3, 32, 32).requires_grad_()
    for cut in ("reconstruction", "input"):
        detector = build(replace(TINY, diffneck=diffneck)).eval()
        for part in detector.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.data.mul_(5)

        def joint_without(_: nn.Module, inputs: tuple[torch.Tensor], cut: str = cut) -> tuple[torch.Tensor]:
            (joint,) = inputs
            halves = [joint[:, :4], joint[:, 4:]]
            kept = [torch.zeros_like(halves[0]), halves[1]] if cut == "reconstruction" else [halves[0], 0 * halves[1]]
            return (torch.cat(kept, 1),)

        detector.neck.register_forward_pre_hook(joint_without)
        (gradient,) = torch.autograd.grad(detector(images).log_odds.sum(), images)
        assert (gradient != 0).float().mean() > 0.5


def test_forward_is_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = build()(noise(2, 3, 32, 32))
    assert prediction.logits.dtype == prediction.reconstruction.dtype == torch.float32


def test_synthesis_gets_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(omnial.synthesis, "synthesize", lambda *_, **switches: seen.update(switches) or batch())
    options = replace(
        TINY, panels=False, anomalous=0.25, both_sides=True, additive=True, self_source=1.0, free_energy=True
    )
    build(options).synthesize(noise(2, 3, 32, 32), noise(2, 3, 32, 32), torch.Generator())
    asked = ("panels", "anomalous", "both_sides", "additive", "self_source", "free_energy")
    assert seen == {name: getattr(options, name) for name in asked}


def test_options_are_checked() -> None:
    assert reading.parse(Options, {}, "here") == Options()
    for table, words in (({"output_stride": 16}, "output_stride"), ({"diffnek": True}, "'diffneck'")):
        with pytest.raises(UserError, match=words):
            reading.parse(Options, table, "here")
