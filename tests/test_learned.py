"""Detectors that learn beside a frozen backbone: fits, whole gradients, and what papers say of parts."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.objectives import ranking
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.victim import victim
from omnial_bench.config.load import read_recipe
from omnial_bench.config.schema import Recipe, Training
from omnial_bench.data.dataset import Dataset, find_dataset
from omnial_bench.data.images import to_float
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.errors import UserError
from omnial_bench.evaluation.suited import check_gradient
from omnial_bench.models import learned
from omnial_bench.models.backbone import Backbone, untrained
from omnial_bench.models.cutpaste import CutPaste, Density
from omnial_bench.models.fitted import Fitted
from omnial_bench.models.fitting import fit_detector
from omnial_bench.models.learned import Learned
from omnial_bench.models.levels import cosine_gap, smoothed
from omnial_bench.models.mkd import MKD, Cloner
from omnial_bench.models.options.known import check_options
from omnial_bench.models.patchsvdd import LARGE, SMALL, STEPS, Encoder, PatchSVDD, spread, taken
from omnial_bench.models.registry import DETECTORS, build
from omnial_bench.models.stfpm import STFPM
from omnial_bench.models.uniad import Attention, UniAD, apart
from omnial_bench.synthesis import cutpaste, patch_pairs
from omnial_bench.types import ThreatModel

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = sorted(name for name, (kind, _) in DETECTORS.items() if isinstance(kind, type) and issubclass(kind, Learned))
ROWS = list[dict[str, Any]]


@pytest.fixture(scope="module")
def caps(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 drawn caps to learn from, 64x64, and others to be shown."""
    folder = tmp_path_factory.mktemp("caps")
    draw_toy(folder, size=64, train=24, test_good=4, test_defect=1)
    return find_dataset(folder, ["cap"])


@pytest.fixture(scope="module")
def normals(caps: Dataset) -> Tensor:
    return caps.load("train", None, (64, 64)).images


@pytest.fixture(scope="module")
def shown(caps: Dataset) -> Tensor:
    """Normal images that nothing was learnt from: a memory has no slope where it remembers."""
    images = caps.load("test", None, (64, 64))
    return to_float(images.images[[defect == "good" for defect in images.defects]], "cpu")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "backbones"))
        yield


def fitted(name: str, images: Tensor, seed: int = 0, **training: Any) -> tuple[Fitted, ROWS]:
    recipe = read_recipe(name, "tiny")
    changed = {"training": recipe.training.model_copy(update=training)}
    recipe, generator = recipe.model_copy(update=changed), torch.Generator().manual_seed(seed)
    detector = build(recipe, generator)
    assert isinstance(detector, Fitted)
    rows = fit_detector(detector, recipe, images, generator, device=torch.device("cpu"))
    return detector.eval(), rows


@pytest.fixture(scope="module")
def learnt(request: pytest.FixtureRequest, normals: Tensor) -> tuple[Fitted, ROWS]:
    """A detector of the name, in as many steps as it needs to learn anything."""
    slow = request.param in ("padim-spd-lite", "patchsvdd", "simplenet")
    return fitted(request.param, normals, max_iterations=60 if slow else 20)


@pytest.mark.parametrize("learnt", NAMES, indirect=True)
def test_it_learns_and_hides_nothing(learnt: tuple[Fitted, ROWS], shown: Tensor) -> None:
    """The loss falls, the log is told, a hole in an image stands out, and the gradient is that of forward passes."""
    detector, rows = learnt
    early, late = ([row["loss"] for row in part] for part in (rows[:4], rows[-4:]))
    assert sum(late) < 0.95 * sum(early)
    assert [row["iteration"] for row in rows] == list(range(1, len(rows) + 1)) and len(rows) in (20, 60)
    assert (rows[-1]["normals"], rows[-1]["held_out"]) == (16, 8)
    for backbone in (part for part in detector.children() if isinstance(part, Backbone)):
        pairs = zip(backbone(shown), Backbone("lite0", backbone.strides)(shown), strict=True)
        assert all(torch.allclose(*pair, atol=1e-4) for pair in pairs)
    spoilt = shown.clone()
    spoilt[..., 24:40, 24:40] = 1 - spoilt[..., 24:40, 24:40]
    with torch.no_grad():
        clean, holed = detector(shown), detector(spoilt)
    assert (holed.log_odds - clean.log_odds)[..., 28:36, 28:36].mean() > 0
    assert check_gradient(detector, shown[:1]) > 0.98


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_decides_it(name: str, normals: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not whether the features of all normals are kept in memory."""
    before = torch.get_rng_state()
    one, again, other = (fitted(name, normals, seed, max_iterations=2)[0].state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    learnt = [key for key in one if "_extra_state" not in key]
    assert all(torch.equal(one[key], again[key]) for key in learnt)
    assert any(not torch.equal(one[key], other[key]) for key in learnt)
    monkeypatch.setattr(learned, "KEPT", 0)
    anew = fitted(name, normals, 1, max_iterations=2)[0].state_dict()
    for key in learnt:
        torch.testing.assert_close(one[key], anew[key], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("learnt", [*NAMES, "gaussian", "padim", "patchcore"], indirect=True)
def test_an_attack_in_bfloat16_climbs_by_a_whole_gradient(learnt: tuple[Fitted, ROWS], shown: Tensor) -> None:
    """It points where that of float32 does, and no image is without."""
    detector, _ = learnt
    truth = torch.zeros(len(shown), 64, 64, dtype=torch.bool)
    truth[:, 24:40, 24:40] = True
    slopes = []
    for precision in (None, torch.bfloat16):
        with victim([detector], precision=precision) as target:
            slopes.append(target.gradient(shown, truth, ranking)[1].flatten(1))
            attack = DensePGD(
                target, ThreatModel(eps=Fraction(8, 255)), generator=torch.Generator(), objective=ranking, steps=3
            )
            attacked = attack(shown, truth)
    assert attacked.isfinite().all() and attack.flat == 0 and attack.losses[-1] > attack.losses[0]
    assert (torch.cosine_similarity(*slopes) > 0.5).all()


def test_a_loss_that_is_not_finite_is_one_line(normals: Tensor) -> None:
    with pytest.raises(UserError, match=r"UniAD: the loss is not finite at step [0-9]+; lower the learning rate"):
        fitted("uniad", normals, lr=1e30, milestones=())


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parts_have_the_counts_of_their_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    """STFPM's student is a ResNet-18 up to its third stage; Patch SVDD's
    encoders; MKD's cloner beside VGG-16; UniAD on EfficientNet-B4 at
    14x14, whose rows and columns are 2 x 14 x 128 of them; SimpleNet on 1536 channels."""
    assert count(untrained("resnet18", (4, 8, 16))) == 2_782_784
    encoder = Encoder(32, 64)
    assert (count(encoder.small), count(encoder)) == (360_832, 401_984)
    cloner = Cloner((128, 256, 512, 512), (4, 8, 16, 32), width=16, linear=False)
    assert sum(part.weight.numel() for part in cloner.modules() if isinstance(part, torch.nn.Conv2d)) == 343_728
    assert [level.shape[1:] for level in cloner(torch.zeros(2, 3, 64, 64))] == [
        (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)
    ]  # fmt: skip

    class Channels(torch.nn.Module):
        channels = (24, 32, 56, 160)

    monkeypatch.setattr("omnial_bench.models.uniad.Backbone", lambda *_: Channels())
    kind, options = DETECTORS["uniad"]
    uniad = kind(options())
    assert isinstance(uniad, UniAD)
    uniad.lay_out(14, 14, torch.Generator())
    assert count(uniad) == 7_713_808 + 3_584
    Channels.channels = (512, 1024)  # type: ignore[assignment]
    monkeypatch.setattr("omnial_bench.models.simplenet.Backbone", lambda *_: Channels())
    kind, options = DETECTORS["simplenet"]
    assert {name: count(part) for name, part in kind(options()).named_children()} == {
        "backbone": 0, "adaptor": 2_360_832, "discriminator": 1_576_960
    }  # fmt: skip


def test_a_map_of_a_product_ranks_as_the_product_that_is_resized(shown: Tensor) -> None:
    """Published: levels to the finest by their values, multiplied, and then to pixels."""
    detector = build(read_recipe("stfpm", "tiny"), torch.Generator().manual_seed(0)).eval().double()
    assert isinstance(detector, STFPM)
    with torch.no_grad():
        first, *others = detector._gaps(shown.double(), detector.frozen(shown.double()))
        for other in others:
            first = first * F.interpolate(other, size=first.shape[2:], mode="bilinear")
        product = F.interpolate(first, size=shown.shape[2:], mode="bilinear")[:, 0]
        torch.testing.assert_close(detector(shown.double()).log_odds.exp(), product, rtol=1e-4, atol=0)


def test_mkds_teacher_sees_pixels_as_they_are_at_paper(shown: Tensor) -> None:
    assert not read_recipe("mkd", "paper").options["normalised"]
    recipe = read_recipe("mkd", "tiny")
    detector = build(recipe.model_copy(update={"options": {**recipe.options, "normalised": False}})).eval()
    assert isinstance(detector, MKD)
    backbone = Backbone("lite0", detector.backbone.strides)
    expected = backbone(shown * backbone.std + backbone.mean)
    torch.testing.assert_close(detector.frozen(shown), expected, rtol=1e-4, atol=1e-4)


def test_from_nothing_the_density_is_of_what_is_pooled_else_of_what_the_head_makes_of_it(normals: Tensor) -> None:
    recipe = read_recipe("cutpaste", "tiny")
    steps = recipe.training.model_copy(update={"max_iterations": 1})
    for scratch, size in ((True, 40), (False, 16)):
        changed = recipe.model_copy(update={"training": steps, "options": {**recipe.options, "scratch": scratch}})
        detector = build(changed, torch.Generator().manual_seed(0))
        assert isinstance(detector, CutPaste)
        fit_detector(detector, changed, normals, torch.Generator().manual_seed(0), device=torch.device("cpu"))
        assert detector.whole.factor.shape == detector.windows.factor.shape == (size, size)


@pytest.mark.parametrize("strides", [(8,), (2, 4, 8, 16, 32)])
def test_a_product_of_levels_that_agree_has_a_value_and_a_slope_in_float32(
    strides: tuple[int, ...], shown: Tensor
) -> None:
    recipe = read_recipe("stfpm", "tiny")
    detector = build(recipe.model_copy(update={"options": {**recipe.options, "strides": strides}})).eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "_gaps", lambda images, _: [
            1e-12 * images[:, :1, ::stride, ::stride] for stride in strides
        ])  # fmt: skip
        images = shown[:1].clone().requires_grad_(True)
        odds = detector(images).log_odds
        odds.sum().backward()
    assert images.grad is not None and odds.isfinite().all() and images.grad.isfinite().all() and images.grad.any()


@pytest.mark.parametrize(
    ("name", "options", "size", "words"),
    [
        ("uniad", {"width": 30, "heads": 4}, 64, "its 4 heads divide, got 30; try 32"),
        ("uniad", {"width": 4096, "heads": 63}, 64, "its 63 heads divide, got 4096; try 4032"),
        ("uniad", {"neighbourhood": 8}, 64, "neighbourhood: expected an odd number, got 8"),
        ("cutpaste", {"window": 2}, 64, "window: expected an odd number, got 2"),
        ("rd4ad", {"blocks": (1, 1)}, 64, r"for each of 3 strides of rd4ad, got \[1, 1\]"),
        ("rd4ad", {"strides": (4, 16), "blocks": (1, 1)}, 64, r"each twice another, got \[4, 16\]"),
        ("rd4ad", {"strides": ()}, 64, "strides: .* at least 1 item"),
        ("mkd", {"strides": (8,)}, 64, "strides: .* at least 2 items"),
        ("stfpm", {"strides": (8, 8)}, 64, "strides: expected each once"),
        ("simplenet", {"strides": (3,)}, 64, "strides.0: Input should be 2, 4, 8, 16 or 32, got 3"),
        ("patchsvdd", {}, 48, "at least 64 for the patches of patchsvdd, got 48x48"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(
    name: str, options: dict[str, Any], size: int, words: str
) -> None:
    recipe = read_recipe(name, "tiny")
    changed = recipe.model_copy(update={"size": (size, size), "options": {**recipe.options, **options}})
    with pytest.raises(UserError, match=words):
        check_options(changed)


def test_embeddings_that_do_not_fit_into_memory_are_one_line_before_anything_is_learnt(
    normals: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnial_bench.models.room._available", lambda _: 10**5)
    monkeypatch.setattr(PatchSVDD, "loss", lambda *_: pytest.fail("it learns"))
    with pytest.raises(UserError, match=r"embeddings of 16 normal images take .*, room for \d+ of them; take"):
        fitted("patchsvdd", normals)


def test_normals_of_a_category_that_are_all_equal_are_refused(normals: Tensor) -> None:
    recipe = read_recipe("padim", "tiny")
    images, categories = torch.cat([normals[:1].expand(12, -1, -1, -1), normals]), ["a"] * 12 + ["b"] * len(normals)
    with pytest.raises(UserError, match="expected normal images of a that differ, got 12 that are all equal"):
        fit_detector(
            build(recipe),
            recipe,
            images,
            torch.Generator(),
            device=torch.device("cpu"),
            categories=categories,  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_normals_are_told_as_such(normals: Tensor, count: int) -> None:
    recipe = read_recipe("padim", "tiny")
    with pytest.raises(UserError, match=f"expected at least 16 normal training images, .*, got {count}; add some"):
        fit_detector(build(recipe), recipe, normals[:count], torch.Generator(), device=torch.device("cpu"))  # type: ignore[arg-type]


def test_a_place_sees_none_of_its_neighbours() -> None:
    """On a grid of 5x6, a square of 3x3: a corner lies in one of 4 places, an edge of 6, the middle of 9."""
    seen = apart(5, 6, 1)
    hidden = (~seen).sum(1).view(5, 6)
    assert hidden[0].tolist() == [4, 6, 6, 6, 6, 4] and hidden[2].tolist() == [6, 9, 9, 9, 9, 6]
    assert torch.equal(seen, seen.T)
    barrier = torch.zeros(30, 30).masked_fill(~seen, -torch.inf)
    attention, tokens = Attention(8, 2, 0.0), torch.randn(1, 30, 8, generator=torch.Generator().manual_seed(0))
    slopes = torch.autograd.functional.jacobian(
        lambda value: attention(tokens, tokens, value, barrier, None)[0], tokens
    )
    assert torch.equal(slopes.abs().sum((1, 2, 4)) != 0, seen)


def test_a_grid_of_which_a_place_sees_nothing_is_one_line(normals: Tensor) -> None:
    recipe = Recipe(
        detector="uniad", preset="x", size=(64, 64), training=Training(batch=8),
        options={"backbone": "lite0", "strides": [4, 16], "width": 16, "layers": 1},
    )  # fmt: skip
    detector = build(recipe)
    with pytest.raises(UserError, match=r"expected a grid of more than 7 places, .* got 4x4"):
        fit_detector(detector, recipe, normals, torch.Generator(), device=torch.device("cpu"))  # type: ignore[arg-type]


def test_arithmetic_on_levels_is_worked_by_hand() -> None:
    one, other = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[4.0, -3.0], [1.0, 0.0]])
    gaps = cosine_gap(one.view(2, 2, 1, 1), other.view(2, 2, 1, 1)).flatten()
    assert gaps.tolist() == pytest.approx([1.0, 1.0])
    spike = torch.zeros(1, 1, 65, 65)
    spike[..., 32, 32] = 1
    assert float(smoothed(spike, 4.0).amax()) == pytest.approx(1 / (2 * torch.pi * 16), rel=1e-3)
    assert torch.equal(smoothed(spike, 0.0), spike)


def test_a_gaussian_is_shrunk_as_scikit_learn_shrinks_it() -> None:
    rows = torch.randn(40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.arange(1, 13)
    reference = LedoitWolf().fit(rows.numpy())
    density = Density()
    density.fit([rows[:25], rows[25:]], lambda part: part)
    expected = torch.from_numpy(reference.mahalanobis(rows.numpy()))
    torch.testing.assert_close(density.double().squares(rows), expected, rtol=1e-4, atol=1e-4)


def test_a_piece_is_cut_and_pasted_in_the_same_image() -> None:
    """Without a turn it is a rectangle of a copy; all pixels but those of a rectangle stay."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    images = torch.stack((rows / 64, columns / 64, torch.zeros_like(rows)))[None].repeat(3, 1, 1, 1)
    sides = torch.tensor([[6.0, 10.0], [8.0, 8.0], [4.0, 20.0]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutpaste, "JITTER", (0.0, 0.0, 0.0, 0.0))
        pasted = cutpaste.paste(images, sides, torch.zeros(3), torch.Generator().manual_seed(2))
    for image, clean, (high, wide) in zip(pasted, images, sides.long().tolist(), strict=True):
        changed = (image - clean).abs().amax(0) > 1e-4
        assert changed.sum() == high * wide
        move = (image - clean)[:2, changed]
        assert torch.allclose(move, move[:, :1].expand_as(move), atol=1e-4)


@pytest.mark.parametrize("synthesis", [cutpaste.cut_paste, cutpaste.cut_paste_scar])
def test_pieces_have_the_sizes_of_the_paper(synthesis: Callable[[Tensor, torch.Generator], Tensor]) -> None:
    images = torch.rand(16, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    changed = (synthesis(images, torch.Generator().manual_seed(1)) != images).any(1).flatten(1).float().mean(1)
    low, high = (0.02, 0.15) if synthesis is cutpaste.cut_paste else (2 * 10 / 256**2, 16 * 25 / 256**2)
    assert changed.amin() > 0 and changed.amax() < 1.05 * high and changed.median() > low


def test_a_piece_is_blended_in_as_by_two_integrals_of_a_gaussian() -> None:
    """On a slope a moved piece differs by a constant, so the change has the shape of the weight; a flat image stays."""
    slope = torch.arange(112.0).div(256).expand(1, 3, 112, 112)
    sigma, half = 8 / 224 * 112, (6.0, 8.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutpaste, "JITTER", (0.0, 0.0, 0.0, 0.0))
        blended, flat = (
            cutpaste.blend(images, 2 * torch.tensor([half]), torch.Generator().manual_seed(1))
            for images in (slope, torch.full((1, 3, 112, 112), 0.3))
        )
    torch.testing.assert_close(flat, torch.full_like(flat, 0.3))
    change = (blended - slope)[0, 0]
    places, root = torch.arange(112.0), sigma * 2**0.5
    weight = torch.ones(112, 112)
    for axis, side in enumerate(half):
        away = places - (change.sum(1 - axis) * places).sum() / change.sum()
        spread = torch.erf((away + side) / root) / 2 - torch.erf((away - side) / root) / 2
        weight = weight * spread.unsqueeze(1 - axis)
    move = float(256 * change.sum() / weight.sum())
    assert abs(move) >= 1 and move == pytest.approx(round(move), abs=1e-2)
    # Sums of samples of a Gaussian that is four pixels wide are off their integrals by up to 2e-3.
    torch.testing.assert_close(256 * change / round(move), weight, rtol=0, atol=2e-3)


@pytest.mark.parametrize("side", [SMALL, LARGE])
def test_a_pass_over_an_image_gives_what_passes_over_its_patches_give(side: int) -> None:
    images = torch.rand(2, 3, 96, 80, generator=torch.Generator().manual_seed(0))
    encoder, step = Encoder(4, 8), STEPS[side]
    places = encoder(images)[side]
    assert places.shape[2:] == ((96 - side) // step + 1, (80 - side) // step + 1)
    patches = [images[..., step : step + side, :side], images[..., :side, -side:]]
    expected = [encoder.of_patches(patch) for patch in patches]
    for place, embedding in zip((places[..., 1, 0], places[..., 0, -1]), expected, strict=True):
        torch.testing.assert_close(place, embedding, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [SMALL, LARGE])
def test_what_a_pass_gives_at_a_place_is_the_embedding_of_the_patch_there(side: int) -> None:
    """Three places of each image, at even pixels, for a pass has no others."""
    images = torch.rand(2, 3, 96, 80, generator=torch.Generator().manual_seed(0))
    encoder, places = Encoder(4, 8), torch.tensor([[0, 0], [2, 16], [32, 8], [14, 6], [32, 16], [0, 10]])
    patches = patch_pairs.crop(images.repeat_interleave(3, 0), places, side)
    found = taken(encoder(images, every=True)[side], places)
    torch.testing.assert_close(found, encoder.of_patches(patches), rtol=1e-4, atol=1e-5)


def test_a_pixel_has_the_mean_of_the_patches_that_it_lies_in() -> None:
    """Two patches of 64 pixels, 16 apart: 1 where the first lies alone, 3 where the second does, 2 in both."""
    maps = spread(torch.tensor([[[[1.0, 3.0]]]]), LARGE)
    assert maps.shape == (1, 1, 64, 80)
    assert maps[0, 0, 5].tolist() == [1.0] * 16 + [2.0] * 48 + [3.0] * 16


def test_neighbours_lie_beside_each_other() -> None:
    """In images whose values are their places, patches of 32: each class has its own direction, 24 to 31 away."""
    rows, columns = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    images = torch.stack((rows, columns, rows))[None].repeat(200, 1, 1, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patch_pairs, "SHIFT", 0.0)
        patch.setattr(patch_pairs, "NOISE", 0.0)
        first, second, which = patch_pairs.neighbours(images, SMALL, torch.Generator().manual_seed(0))
    away = (second - first)[:, :2, 0, 0]
    inside = ((first[:, :2, 0, 0] > 31) & (first[:, :2, 0, 0] < 256 - 63)).all(1)
    assert torch.equal(away.sign()[inside].long(), patch_pairs.DIRECTIONS[which][inside])
    assert set(away.abs()[inside].unique().long().tolist()) <= {0, *range(24, 32)}
    one, other = patch_pairs.coinciding(images, SMALL, torch.Generator().manual_seed(0))
    assert float((one - other).abs().max()) == 1.0
