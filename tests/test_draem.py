"""DRAEM: the published layers and the layout of the published states."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from learning import noise, tiny
from torch.nn import functional as F

from omnial_bench.errors import UserError
from omnial_bench.models.draem import DRAEM, Options, load_official


def blocks(prefix: str, start: int, widths: list[tuple[int, int]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Entries of one published Sequential of conv, batch norm, ReLU triples whose first conv has index `start`."""
    for position, (inputs, outputs) in enumerate(widths):
        conv, norm = f"{prefix}.{start + 3 * position}", f"{prefix}.{start + 3 * position + 1}"
        yield f"{conv}.weight", (outputs, inputs, 3, 3)
        yield f"{conv}.bias", (outputs,)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            yield f"{norm}.{leaf}", (outputs,)
        yield f"{norm}.num_batches_tracked", ()


def published_reconstruction(b: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for scale, (m, n) in enumerate([(3, b), (b, 2 * b), (2 * b, 4 * b), (4 * b, 8 * b), (8 * b, 8 * b)], start=1):
        shapes |= blocks(f"encoder.block{scale}", 0, [(m, n), (n, n)])
    for level, (m, n) in enumerate([(8 * b, 4 * b), (4 * b, 2 * b), (2 * b, b), (b, b)], start=1):
        shapes |= blocks(f"decoder.up{level}", 1, [(m, m)])
        shapes |= blocks(f"decoder.db{level}", 0, [(m, m), (m, n)])
    return shapes | {"decoder.fin_out.0.weight": (3, b, 3, 3), "decoder.fin_out.0.bias": (3,)}


def published_localisation(c: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    widths = [6, c, 2 * c, 4 * c, 8 * c, 8 * c, 8 * c]
    for scale, (m, n) in enumerate(pairwise(widths), start=1):
        shapes |= blocks(f"encoder_segment.block{scale}", 0, [(m, n), (n, n)])
    levels = [("_b", 8, 8, 8), ("1", 8, 4, 8), ("2", 4, 2, 4), ("3", 2, 1, 2), ("4", 1, 1, 1)]
    for name, m, n, skip in levels:
        shapes |= blocks(f"decoder_segment.up{name}", 1, [(m * c, n * c)])
        shapes |= blocks(f"decoder_segment.db{name}", 0, [((n + skip) * c, n * c), (n * c, n * c)])
    return shapes | {"decoder_segment.fin_out.0.weight": (2, c, 3, 3), "decoder_segment.fin_out.0.bias": (2,)}


def generated(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            state[name] = torch.randn(shape, generator=generator) * (0.2 if len(shape) == 4 else 0.5)
    return state


def triple(state: dict[str, torch.Tensor], prefix: str, index: int, x: torch.Tensor) -> torch.Tensor:
    """Conv, batch norm in evaluation mode, ReLU, straight from a published state."""
    x = F.conv2d(x, state[f"{prefix}.{index}.weight"], state[f"{prefix}.{index}.bias"], padding=1)
    norm = [state[f"{prefix}.{index + 1}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *norm).relu()


def published_forward(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The published networks written out over their state dicts; `images` in the authors' channel order."""

    def double(x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

    x = images
    for scale in range(1, 6):
        x = F.max_pool2d(x, 2) if scale > 1 else x
        x = triple(first, f"encoder.block{scale}", 3, triple(first, f"encoder.block{scale}", 0, x))
    for level in range(1, 5):
        x = triple(first, f"decoder.up{level}", 1, double(x))
        x = triple(first, f"decoder.db{level}", 3, triple(first, f"decoder.db{level}", 0, x))
    reconstruction = F.conv2d(x, first["decoder.fin_out.0.weight"], first["decoder.fin_out.0.bias"], padding=1)
    x, skips = torch.cat((reconstruction, images), 1), []
    for scale in range(1, 7):
        x = F.max_pool2d(x, 2) if scale > 1 else x
        x = triple(second, f"encoder_segment.block{scale}", 3, triple(second, f"encoder_segment.block{scale}", 0, x))
        skips.append(x)
    for name, skip in zip(["_b", "1", "2", "3", "4"], skips[-2::-1], strict=True):
        x = torch.cat((triple(second, f"decoder_segment.up{name}", 1, double(x)), skip), 1)
        x = triple(second, f"decoder_segment.db{name}", 3, triple(second, f"decoder_segment.db{name}", 0, x))
    weight, bias = second["decoder_segment.fin_out.0.weight"], second["decoder_segment.fin_out.0.bias"]
    return reconstruction, F.conv2d(x, weight, bias, padding=1)


def test_the_paper_preset_has_the_published_layout_and_counts() -> None:
    with torch.device("meta"):
        detector = DRAEM(Options())
        first = {name: torch.empty(shape) for name, shape in published_reconstruction(128).items()}
        second = {name: torch.empty(shape) for name, shape in published_localisation(64).items()}
    load_official(detector, first, second)
    for network, state, parameters in (
        (detector.reconstruction, first, 69_048_579),
        (detector.localisation, second, 28_374_146),
    ):
        assert len(state) == len(network.state_dict())
        assert sum(part.numel() for part in network.parameters()) == parameters


def test_a_published_state_gives_the_published_outputs() -> None:
    detector = tiny("draem").eval()
    first, second = generated(published_reconstruction(4), 1), generated(published_localisation(4), 2)
    load_official(detector, first, second)
    images = noise(1, 3, 32, 64)
    reconstruction, logits = published_forward(first, second, images.flip(1))
    prediction = detector(images)
    torch.testing.assert_close(prediction.reconstruction, reconstruction.flip(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prediction.logits, logits, rtol=1e-4, atol=1e-4)

    load_official(detector, first, second, bgr=False)
    straight, _ = published_forward(first, second, images)
    torch.testing.assert_close(detector(images).reconstruction, straight, rtol=1e-4, atol=1e-4)


def test_a_state_of_another_layout_is_refused_and_nothing_is_loaded() -> None:
    detector = tiny("draem")
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    first, second = generated(published_reconstruction(4), 1), generated(published_localisation(4), 2)
    short = {name: value for name, value in second.items() if name != "decoder_segment.up_b.1.bias"}
    with pytest.raises(UserError, match=r"lacks decoder_segment\.up_b\.1\.bias"):
        load_official(detector, first, short)
    with pytest.raises(UserError, match="unknown entry extra"):
        load_official(detector, first | {"extra": torch.zeros(1)}, second)
    with pytest.raises(UserError, match=r"encoder\.block1\.0\.weight of shape \(4, 3, 3, 3\), got \(8, 3, 3, 3\)"):
        load_official(detector, generated(published_reconstruction(8), 1), second)
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
