"""PaDiM on lite0: what it keeps, its whole gradient, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import check_whole
from scipy.ndimage import gaussian_filter
from torch import Tensor

from omnial_bench.config.load import read_recipe
from omnial_bench.config.schema import Recipe
from omnial_bench.errors import UserError
from omnial_bench.models.backbone import Backbone
from omnial_bench.models.checkpoint import load, provenance_of, save
from omnial_bench.models.fitting import fit_detector
from omnial_bench.models.padim import PaDiM
from omnial_bench.models.registry import build

pytestmark = pytest.mark.usefixtures("one_thread")
DETECTORS = ["padim", "patchcore"]


def normals(count: int = 20, seed: int = 0) -> Tensor:
    """Bytes: one drawing under noise."""
    generator = torch.Generator().manual_seed(seed)
    drawing = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(9))
    noise = 0.1 * torch.randn(count, 3, 48, 48, generator=generator)
    return (255 * (drawing.repeat_interleave(4, 2).repeat_interleave(4, 3) + noise).clamp(0, 1)).byte()


def recipe(name: str, **options: Any) -> Recipe:
    tiny = read_recipe(name, "tiny")
    return tiny.model_copy(update={"options": {**tiny.options, **options}})


def fitted(name: str, **options: Any) -> Any:
    chosen = recipe(name, **options)
    detector = build(chosen)
    fit_detector(detector, chosen, normals(), torch.Generator().manual_seed(1), device=torch.device("cpu"))  # type: ignore[arg-type]
    return detector.eval()


@pytest.mark.parametrize("name", [*DETECTORS, "padim-spd-lite"])
def test_a_checkpoint_holds_what_was_learnt_and_of_the_backbone_a_hash(tmp_path: Path, name: str) -> None:
    detector, chosen = fitted(name), recipe(name)
    described = provenance_of(
        name, "unified", ["cap"], dataset="toy", data_fingerprint="", seed=0, precision="32-true", key=""
    )
    save(tmp_path, detector, chosen, described(0))
    again, images = load(tmp_path).detector, normals(3, 5) / 255
    with torch.no_grad():
        torch.testing.assert_close(again(images).log_odds, detector(images).log_odds, rtol=1e-5, atol=1e-4)
    backbone = detector.padim.backbone if name == "padim-spd-lite" else detector.backbone
    state = backbone.state_dict()
    # SPD teaches blocks 5 to 10, which lie behind stride 8.
    taught = {f"block{number}" for number in range(5, 11)} if name == "padim-spd-lite" else set()
    assert {part.split(".")[2] for part in state if "." in part} == taught
    torch.testing.assert_close(
        backbone(images)[0], Backbone("lite0", backbone.strides[:1])(images)[0], rtol=0, atol=1e-4
    )
    backbone.digest = "ab" * 32
    save(tmp_path, detector, chosen, described(0))
    with pytest.raises(UserError, match="fitted on features of other weights of lite0 "):
        load(tmp_path)


@pytest.mark.parametrize(("name", "beyond"), [("padim", "mirror"), ("patchcore", "reflect")])
def test_a_map_goes_on_beyond_its_frame(name: str, beyond: str) -> None:
    """PaDiM's as in anomalib, PatchCore's as in its published code."""
    image = normals(1, 7).double() / 255
    maps = []
    with torch.no_grad():
        for sigma in (0.0, 3.0):
            detector: Any = build(recipe(name, sigma=sigma)).eval()
            detector.fit([normals().float() / 255], torch.Generator().manual_seed(1))
            maps.append(detector.double()(image).log_odds[0].numpy())
    values, got = maps
    np.testing.assert_allclose(got, gaussian_filter(values, 3, mode=beyond, truncate=4), rtol=1e-9)
    other = gaussian_filter(values, 3, mode="mirror" if beyond == "reflect" else "reflect", truncate=4)
    assert np.abs(got - other).max() > 1e-4 * got.max()


@pytest.mark.parametrize("name", DETECTORS)
def test_the_whole_gradient_reaches_every_pixel(name: str) -> None:
    detector = fitted(name).double()
    image = normals(1, 7).double() / 255

    def total(shown: Tensor) -> Tensor:
        said = detector(shown)
        return said.log_odds.mean() + said.image_score.sum()

    # Shorter than the way to the next kink of the network's activations.
    check_whole(total, image, 1e-9)


@pytest.mark.parametrize("name", DETECTORS)
def test_defects_stand_out_where_they_are(name: str) -> None:
    detector, images = fitted(name), normals(4, 8) / 255
    shown = images.clone()
    shown[:, :, 16:28, 20:32] = 0.5
    with torch.no_grad():
        clean, marked = detector(images), detector(shown)
    assert (marked.image_score > clean.image_score.max()).all()
    peaks = marked.log_odds.flatten(1).argmax(1)
    assert all(12 <= peak // 48 < 32 and 16 <= peak % 48 < 36 for peak in peaks.tolist())


@pytest.mark.parametrize("name", DETECTORS)
def test_normals_that_are_all_equal_are_refused(name: str) -> None:
    chosen, images = recipe(name), normals(1).expand(20, -1, -1, -1)
    with pytest.raises(UserError, match="expected normal images that differ, got 20 that are all equal"):
        fit_detector(build(chosen), chosen, images, torch.Generator(), device=torch.device("cpu"))  # type: ignore[arg-type]


def test_channels_are_drawn_once_by_the_generator() -> None:
    detector = fitted("padim", channels=30, grid=8)
    drawn = [level.channels for level in detector.levels]
    assert sum(map(len, drawn)) == 30 and all((part.diff() > 0).all() for part in drawn)
    assert [tuple(level.own.shape[:1]) for level in detector.levels] == [(9,), (36,), (36,)]
    assert detector.levels[2].above.shape == (36, len(drawn[2]), len(drawn[0]) + len(drawn[1]))


@pytest.mark.parametrize(
    ("options", "count", "words"),
    [
        ({}, 1, "expected at least 2 normal images to take covariances of, got 1; add some"),
        ({"channels": 177}, 2, "expected at most the 176 channels that lite0 has at strides"),
    ],
)
def test_what_gives_no_gaussian_is_one_line(options: dict[str, Any], count: int, words: str) -> None:
    with pytest.raises(UserError) as caught:
        detector = build(recipe("padim", **options))
        assert isinstance(detector, PaDiM)
        with torch.no_grad():
            detector.fit([normals(count) / 255], torch.Generator())
    assert words in str(caught.value) and "\n" not in str(caught.value)
