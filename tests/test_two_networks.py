"""DRAEM, JNLD and OmniAL: what a reconstruction and a localisation on it have in common."""

from dataclasses import asdict
from typing import Any

import pytest
import torch
from learning import batch, noise, tiny, totals_of
from torch import Tensor, nn

from omnial_bench.config import load as reading
from omnial_bench.errors import UserError
from omnial_bench.models import draem, jnld, omnial

MODULES = {"draem": draem, "jnld": jnld, "omnial": omnial}
JNLD_TERMS = ["mse_image", "mse_jnd", "focal"]


@pytest.mark.parametrize(
    ("name", "options", "classes", "smoothing", "multiple"),
    [
        ("draem", {}, 2, 1, 32), ("jnld", {}, 4, 1, 32), ("jnld", {"classes": 2}, 2, 1, 32),
        ("omnial", {"smoothing": 3}, 4, 3, 4),
    ],
)  # fmt: skip
def test_forward_gives_float32_logits_and_an_image(
    name: str, options: dict[str, int], classes: int, smoothing: int, multiple: int
) -> None:
    detector = tiny(name, **options)
    for images, autocast in ((noise(2, 3, 32, 64), False), (noise(3, 3, 64, 32), False), (noise(2, 3, 32, 32), True)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            prediction = detector(images)
        assert prediction.logits.shape == (len(images), classes, *images.shape[2:])
        assert prediction.reconstruction.shape == images.shape
        assert prediction.logits.dtype == prediction.reconstruction.dtype == torch.float32
        assert (prediction.smoothing, prediction.pooling) == (smoothing, 5)
    with pytest.raises(UserError, match=f"{multiple} divides, got 50x64"):
        detector(noise(1, 3, 50, 64))


@pytest.mark.parametrize(
    ("name", "options", "channels"),
    [
        ("draem", {}, (3, 3)),
        ("jnld", {}, (3, 1, 3)),
        ("omnial", {}, (3, 1, 3)),
        ("omnial", {"diffneck": False}, (3, 1, 3)),
    ],
)
def test_the_gradient_reaches_the_image_through_each_branch(
    name: str, options: dict[str, Any], channels: tuple[int, ...]
) -> None:
    """Through the reconstruction, the JND map and the input, each where the others are zero."""
    detector, images = tiny(name, **options).eval(), noise(1, 3, 32, 32).requires_grad_()
    for part in detector.modules():  # the published spread leaves a net this narrow almost flat
        if isinstance(part, nn.Conv2d):
            part.weight.data.mul_(10)
    for kept in range(len(channels)):

        def joint_without(_: nn.Module, inputs: tuple[Tensor], kept: int = kept) -> Tensor:
            parts = inputs[0].split(channels, 1)
            return torch.cat([part if place == kept else 0 * part for place, part in enumerate(parts)], 1)

        with detector.neck.register_forward_pre_hook(joint_without):
            (gradient,) = torch.autograd.grad(detector(images).log_odds.sum(), images)
        assert (gradient != 0).float().mean() > 0.5, kept


@pytest.mark.parametrize(
    ("name", "options", "terms"),
    [
        ("draem", {}, ["mse", "ssim", "focal"]),
        ("jnld", {}, JNLD_TERMS),
        ("jnld", {"image_ssim": True}, [*JNLD_TERMS, "ssim_image"]),
        ("jnld", {"classes": 2}, JNLD_TERMS),
    ],
)
def test_training_lowers_the_loss_of_a_batch(name: str, options: dict[str, Any], terms: list[str]) -> None:
    totals = totals_of(tiny(name, **options), batch(options.get("classes", 2 if name == "draem" else 4)), terms)
    assert totals[-1] < 0.8 * totals[0]


@pytest.mark.parametrize("name", ["jnld", "omnial"])
def test_loss_terms_compare_the_right_channels(name: str) -> None:
    detector, examples = tiny(name), batch()
    reconstruction, _ = detector.networks(examples.images)
    terms = detector.loss(examples)
    assert terms["mse_image"].item() == pytest.approx((reconstruction[:, :3] - examples.clean).square().mean().item())
    assert terms["mse_jnd"].item() == pytest.approx((reconstruction[:, 3:] - examples.jnd).square().mean().item())


@pytest.mark.parametrize(
    ("name", "options", "more"),
    [
        ("draem", {"panels": True, "anomalous": 0.25, "rotation": 0.4}, {}),
        ("jnld", {"panels": True, "anomalous": 0.25, "free_energy": True}, {"levels": 3}),
        ("jnld", {"panels": True, "anomalous": 0.25, "free_energy": True, "classes": 2}, {"levels": 1}),
        (
            "omnial",
            {
                "panels": False,
                "anomalous": 0.25,
                "both_sides": True,
                "additive": True,
                "self_source": 1,
                "free_energy": True,
            },
            {},
        ),
    ],
)
def test_synthesis_gets_the_options(
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], more: dict[str, int]
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(MODULES[name].synthesis, "synthesize", lambda *_, **switches: seen.update(switches) or batch())
    tiny(name, **options).synthesize(noise(2, 3, 32, 32), noise(2, 3, 32, 32), torch.Generator())
    assert seen == {key: value for key, value in options.items() if key != "classes"} | more


def test_options_are_checked() -> None:
    paper = {"width": 128, "loc_width": 64, "anomalous": 0.5, "panels": False, "smoothing": 1, "pooling": 21}
    assert paper.items() <= asdict(reading.parse(draem.Options, {}, "here")).items()
    for name, table, words in (
        ("draem", {"pooling": 4}, "odd"),
        ("draem", {"width": 0}, "width"),
        ("omnial", {"output_stride": 16}, "output_stride"),
        ("omnial", {"diffnek": True}, "did you mean 'diffneck'"),
    ):
        with pytest.raises(UserError, match=words):
            reading.parse(MODULES[name].Options, table, "here")


def test_jnlds_networks_are_draems_but_for_the_channels() -> None:
    with torch.device("meta"):
        detector = jnld.JNLD(jnld.Options())
    counts = [sum(p.numel() for p in part.parameters()) for part in (detector.reconstruction, detector.localisation)]
    # A fourth output of 128 x 9 weights and a bias; a seventh input into 64 filters, and two more classes.
    assert counts == [69_048_579 + 128 * 9 + 1, 28_374_146 + 64 * 9 + 2 * (64 * 9 + 1)]
