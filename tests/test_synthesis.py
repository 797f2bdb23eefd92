"""Synthetic anomalies: masks, the JND map, panels, textures and the three recipes."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.feature import canny as reference_canny

from omnial_bench.synthesis import draem, jnld, omnial
from omnial_bench.synthesis.canny import HYSTERESIS_STEPS, canny, follow, gaussian_blur, gaussian_kernel
from omnial_bench.synthesis.draw import Draws
from omnial_bench.synthesis.jnd import (
    PATCH,
    SEARCH,
    disorder,
    free_energy_map,
    jnd_map,
    predicted,
    surroundings,
    within_disc,
)
from omnial_bench.synthesis.masks import (
    PANELS,
    draw_panels,
    masks_within,
    panels_of,
    perlin_masks,
    perlin_noise,
    training_masks,
)
from omnial_bench.synthesis.textures import AUGMENTATIONS, augment
from omnial_bench.synthesis.transform import either, rotate, turn_hue
from omnial_bench.types import Synthetic


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(n: int, chosen: tuple[int, ...] | None = None) -> Draws:
    return Draws(generator(1), n, torch.tensor(range(n) if chosen is None else chosen, dtype=torch.long), "cpu")


def photograph(n: int = 2, height: int = 64, width: int = 96) -> torch.Tensor:
    """Smooth colourful images with an edge or two."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    images = [
        torch.stack((0.5 + 0.4 * torch.sin(6 * x + k), 0.3 + 0.5 * y, (x > 0.5).float() * 0.6 + 0.2)) for k in range(n)
    ]
    return torch.stack(images)


class TestPerlin:
    def test_coverage_is_the_published_recipe_s(self) -> None:
        masks = perlin_masks(600, (64, 64), generator(), "cpu")
        assert masks.float().mean().item() == pytest.approx(0.049, abs=0.008)

    def test_noise_is_zero_on_the_lattice_and_outside_the_turned_frame(self) -> None:
        noise = perlin_noise((32, 32), torch.tensor([[4, 4]]), torch.zeros(1), generator())
        assert noise[0, ::8, ::8].abs().max() == 0
        assert noise.abs().max() > 0.3
        turned = perlin_noise((32, 32), torch.tensor([[4, 4]]), torch.tensor([math.pi / 4]), generator())
        assert turned[0, 0, 0] == 0
        assert turned[0, 16, 16] != 0

    def test_masks_that_are_not_wanted_are_empty_and_change_no_other(self) -> None:
        wanted = torch.tensor([True, False, False, True])
        every, some = (perlin_masks(4, (32, 48), generator(3), "cpu", wanted=choice) for choice in (None, wanted))
        assert torch.equal(some, every & wanted[:, None, None])
        assert not perlin_masks(4, (32, 48), generator(3), "cpu", wanted=~wanted & wanted).any()


class TestJnd:
    @pytest.mark.parametrize(
        ("grey", "weight"), [(0, 0.798), (20, 0.528), (64, 0.307), (127, 0.097), (200, 0.144), (255, 0.179)]
    )
    def test_flat_grey(self, grey: int, weight: float) -> None:
        flat = torch.full((1, 3, 40, 48), grey / 255)
        assert jnd_map(flat).flatten().tolist() == pytest.approx([weight] * 1920, abs=5e-4)

    def test_texture_raises_and_an_edge_lowers_the_threshold(self) -> None:
        flat = torch.full((1, 3, 64, 64), 0.5)
        noisy = (flat + 0.2 * (torch.rand(1, 1, 64, 64, generator=generator()) - 0.5)).clamp(0, 1)
        assert jnd_map(noisy).mean() > jnd_map(flat).mean()
        step = flat.clone()
        step[..., 32:] = 0.9
        # The edge weight keeps a twentieth of the gradient next to the only edge.
        assert jnd_map(step)[0, 0, 32, 31] < 0.2

    def test_canny_agrees_with_scikit_image(self) -> None:
        """Whose thresholds are absolute, and whose slopes are Sobel's in place of differences: an edge pixel here and
        there is another."""
        hills = torch.rand(1, 1, 6, 9, generator=generator())
        image = torch.nn.functional.interpolate(255 * hills, (64, 96), mode="bicubic")[0, 0].numpy()
        smooth = ndimage.gaussian_filter(image, math.sqrt(2))
        largest = np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)).max()
        thresholds = {"high_threshold": 0.5 * largest, "low_threshold": 0.2 * largest}
        theirs = reference_canny(image, sigma=math.sqrt(2), mode="nearest", **thresholds)[2:-2, 2:-2]
        ours = canny(torch.from_numpy(image)[None, None])[0, 0].numpy()[2:-2, 2:-2]
        assert (ours & theirs).sum() > 0.95 * (ours | theirs).sum() > 300

    @pytest.mark.parametrize("radius", [0, 1, 6])
    def test_within_disc_is_the_sum_over_a_disc(self, radius: int) -> None:
        mask = torch.rand(2, 1, 9, 30, generator=generator()) < 0.02
        at = torch.arange(-radius, radius + 1)
        disc = (at[:, None] ** 2 + at[None, :] ** 2 <= radius**2).float()
        expected = torch.nn.functional.conv2d(mask.float(), disc[None, None], padding=radius) > 0.5
        assert torch.equal(within_disc(mask, radius), expected)

    def test_a_flat_image_has_no_edge(self) -> None:
        assert not canny(torch.full((1, 1, 32, 32), 100.0)).any()


class TestFreeEnergy:
    @pytest.mark.parametrize(("grey", "lifted"), [(0, 32), (20, 47), (64, 80), (127, 127), (200, 200), (255, 255)])
    def test_flat_grey(self, grey: int, lifted: int) -> None:
        """Foreseen to the last level, so nothing but luminance and its own constant hides anything."""
        luminance = 17 * (1 - math.sqrt(lifted / 127)) + 3 if lifted <= 127 else 3 / 128 * (lifted - 127) + 3
        contrast = abs(0.5 - 0.01 * grey)
        weight = 10 / 255 * (luminance + contrast - 0.3 * min(luminance, contrast))
        found = free_energy_map(torch.full((1, 3, 24, 32), grey / 255))
        assert found.flatten().tolist() == pytest.approx([weight] * 24 * 32, abs=1e-4)

    def test_each_pixel_is_foreseen_from_patches_like_its_own(self) -> None:
        """Against the sums written out, pixel by pixel, on images continued as in a mirror."""
        size, reach = (14, 17), SEARCH + PATCH
        noise = torch.rand(1, 1, *size, generator=generator(2)) * 60
        grey = (noise + 140 * (torch.arange(size[1]) > 8)).round()
        image = np.pad(grey[0, 0].double().numpy(), reach, mode="symmetric")
        background = np.floor(surroundings(grey)[0][0, 0].double().numpy())
        dark = 17 * (1 - np.sqrt(np.round(32 + background.clip(0, 127) * 95 / 127) / 127)) + 3
        limit = np.maximum(np.where(background <= 127, dark, 3 / 128 * (background - 127) + 3), 8)
        expected = np.zeros(size)
        for y, x in np.ndindex(size):
            patch = image[y + SEARCH : y + SEARCH + 7, x + SEARCH : x + SEARCH + 7]
            spread = patch.std()
            h = (limit[y, x] * np.sqrt(limit[y, x] / spread)) ** 2 if spread > limit[y, x] else limit[y, x] ** 2
            weights = {
                (down, right): np.exp(
                    -((patch - image[y + down : y + down + 7, x + right : x + right + 7]) ** 2).mean() / h
                )
                for down, right in np.ndindex(21, 21)
            }
            weights[SEARCH, SEARCH] = max(weight for at, weight in weights.items() if at != (SEARCH, SEARCH))
            values = {at: image[y + at[0] + PATCH, x + at[1] + PATCH] for at in weights}
            expected[y, x] = sum(weights[at] * values[at] for at in weights) / sum(weights.values())
        found = predicted(grey)[0, 0].double().numpy()
        assert np.abs(found - expected).max() <= 0.5 + 1e-3
        assert np.array_equal(found, found.round())

    def test_what_cannot_be_foreseen_hides_more(self) -> None:
        stripes = (0.3 + 0.15 * (torch.arange(48) // 4 % 2)).expand(1, 3, 48, 48)
        speckles = 0.3 + 0.15 * torch.rand(1, 1, 48, 48, generator=generator()).expand(1, 3, 48, 48)
        inner = (..., slice(14, 34), slice(14, 34))
        greys = [255 * one.mean(1, keepdim=True) for one in (stripes, speckles)]
        ordered, loose = (disorder(grey, predicted(grey))[inner].mean() for grey in greys)
        assert ordered < 1 < 3 < loose
        assert free_energy_map(stripes)[inner].mean() < free_energy_map(speckles)[inner].mean()

    @pytest.mark.parametrize("recipe", [jnld.synthesize, omnial.synthesize])
    def test_the_recipes_take_it(self, recipe: Callable[..., Synthetic]) -> None:
        images, textures = photograph(2), photograph(2)
        made = recipe(images, textures, generator(), free_energy=True)
        assert made.jnd is not None
        assert torch.equal(made.jnd, free_energy_map(images))


class TestArithmetic:
    """What is written for speed gives what the plain operation gives."""

    def test_a_blur_is_the_convolution_of_each_channel(self) -> None:
        images = photograph()
        kernel = torch.tensor(gaussian_kernel(1.3, 4))
        padded = torch.nn.functional.pad(images, (4, 4, 4, 4), mode="reflect")
        wanted = torch.nn.functional.conv2d(padded, torch.outer(kernel, kernel).expand(3, 1, 9, 9), groups=3)
        torch.testing.assert_close(gaussian_blur(images, sigma=1.3, radius=4), wanted, rtol=0, atol=1e-6)
        assert kernel.sum() == pytest.approx(1, abs=1e-6)

    @pytest.mark.parametrize("steps", [3, HYSTERESIS_STEPS])
    def test_edges_are_followed_like_repeated_dilation(self, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("omnial_bench.synthesis.canny.HYSTERESIS_STEPS", steps)
        weak = torch.rand((3, 1, 23, 31), generator=generator()) < 0.45
        weak[:, :, [0, -1]] = weak[..., [0, -1]] = True
        strong = torch.zeros_like(weak)
        strong[0, 0, 0, 0] = strong[1, 0, 5, -1] = strong[1, 0, -1, 4] = True
        wanted = strong
        for _ in range(steps):
            wanted = (torch.nn.functional.max_pool2d(wanted.float(), 3, stride=1, padding=1) > 0) & weak
        assert torch.equal(follow(strong, weak), wanted)
        assert wanted[:2].any()
        assert not wanted[2].any()

    def test_either_chooses_to_the_bit(self) -> None:
        these, those = torch.randn((2, 1000), generator=generator()) * torch.logspace(-30, 30, 1000)
        mask = torch.rand(1000, generator=generator(1)) < 0.5
        assert torch.equal(either(mask, these, those), torch.where(mask, these, those))

    def test_pixels_outside_the_mask_stay_to_the_bit(self) -> None:
        images, textures = photograph(), photograph().flip(0)
        masks = torch.zeros((2, 64, 96), dtype=torch.bool)
        masks[:, 10:20, 30:50] = True
        blended = draem.blend(images, textures, masks, generator())
        assert torch.equal(blended[:, :, ~masks[0]], images[:, :, ~masks[0]])
        assert (blended != images)[:, :, masks[0]].any()

    def test_only_the_images_drawn_are_turned(self) -> None:
        images = photograph(8)
        turned = draem.turned(images, 0.5, generator())
        same = (turned == images).flatten(1).all(1)
        assert 0 < same.sum() < 8

    def test_a_turned_grid_is_affine_grid_s(self) -> None:
        images, angles = photograph(), torch.tensor((0.4, -1.1))
        cosine, sine, zero = torch.cos(angles), torch.sin(angles), torch.zeros(2)
        rows = ((cosine, -sine * 64 / 96, zero), (sine * 96 / 64, cosine, zero))
        theta = torch.stack([torch.stack(row, 1) for row in rows], 1)
        grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
        wanted = torch.nn.functional.grid_sample(images, grid, align_corners=False)
        torch.testing.assert_close(rotate(images, angles), wanted, rtol=0, atol=1e-4)


class TestPanels:
    def test_each_kind_takes_its_side(self) -> None:
        panels = panels_of(torch.arange(5), torch.zeros(5, 3), (40, 60), "cpu")
        left, right, top, bottom, every = panels
        assert left[:, :30].all() and not left[:, 30:].any()
        assert right[:, 30:].all() and not right[:, :30].any()
        assert top[:20].all() and not top[20:].any()
        assert bottom[20:].all() and not bottom[:20].any()
        assert every.all()

    @pytest.mark.parametrize("both_sides", [False, True])
    def test_shares_stay_in_range(self, both_sides: bool) -> None:
        panels, kinds = draw_panels(400, (100, 100), generator(), "cpu", both_sides=both_sides)
        share = panels.float().mean((1, 2))
        sides = kinds != PANELS.index("all")
        low = 0.25 if both_sides else 0.5
        assert share[~sides].eq(1).all()
        assert share[sides].min() >= low - 0.02
        assert share[sides].max() <= 0.8**2 + 0.02 if both_sides else share[sides].max() <= 0.81
        assert torch.bincount(kinds, minlength=5).min() > 50

    def test_anomalies_stay_inside_and_are_redrawn_until_there_is_one(self) -> None:
        allowed, _ = draw_panels(32, (64, 64), generator(), "cpu")
        masks = masks_within(3, allowed, generator(1))
        assert not (masks & ~allowed).any()
        assert masks.any(0).flatten(1).any(1).all()

    def test_without_panels_half_stays_normal(self) -> None:
        images = torch.zeros(400, 3, 32, 32)
        masks, _ = training_masks(1, images, generator(), panels=False)
        assert 0.4 < masks.flatten(2).any(2).float().mean().item() < 0.55


class TestTextures:
    @pytest.mark.parametrize("name", AUGMENTATIONS)
    def test_stays_in_range_and_shape(self, name: str) -> None:
        x = torch.rand(3, 3, 32, 48, generator=generator())
        y = AUGMENTATIONS[name](x, draws(3))
        assert y.shape == x.shape
        assert y.min() >= 0
        assert y.max() <= 1
        assert not torch.equal(x, y)

    def test_equalise_flattens_the_histogram(self) -> None:
        dark = torch.rand(1, 3, 64, 64, generator=generator()) ** 3
        flat = AUGMENTATIONS["equalise"](dark, draws(1))
        assert flat.mean().item() == pytest.approx(0.5, abs=0.02)

    @pytest.mark.parametrize("name", AUGMENTATIONS)
    def test_images_left_out_change_no_other(self, name: str) -> None:
        x = torch.rand(4, 3, 32, 48, generator=generator())
        every, some = draws(4), draws(4, (0, 3))
        assert torch.equal(AUGMENTATIONS[name](x, every)[[0, 3]], AUGMENTATIONS[name](x[[0, 3]], some))
        assert torch.equal(every.generator.get_state(), some.generator.get_state())
        assert len(AUGMENTATIONS[name](x[:0], draws(4, ()))) == 0

    def test_only_wanted_textures_are_worked_on(self) -> None:
        x = torch.rand(8, 3, 16, 16, generator=generator())
        wanted = torch.tensor([True, False] * 4)
        some = augment(x, generator(3), wanted=wanted)
        assert torch.equal(some[wanted], augment(x, generator(3))[wanted])
        assert torch.equal(some[~wanted], x[~wanted])

    def test_no_turn_of_the_hue_is_the_identity_and_a_third_permutes(self) -> None:
        x = photograph()
        assert torch.allclose(turn_hue(x, torch.zeros(2, 1, 1, 1)), x, atol=1e-6)
        assert torch.allclose(turn_hue(x, torch.full((2, 1, 1, 1), 1 / 3)), x[:, [2, 0, 1]], atol=1e-5)


class TestRecipes:
    def test_draem_changes_only_the_mask_and_shows_at_least_a_fifth_of_the_texture(self) -> None:
        images, textures = torch.zeros(64, 3, 32, 32), torch.ones(64, 3, 32, 32)
        (masks,), _ = training_masks(1, images, generator(), anomalous=1, panels=False)
        blended = draem.blend(images, textures, masks, generator())
        inside = blended[masks[:, None].expand_as(blended)]
        assert blended[~masks[:, None].expand_as(blended)].eq(0).all()
        assert inside.min() >= 0.2
        assert inside.max() <= 1

    @pytest.mark.parametrize("recipe", [draem, jnld, omnial])
    def test_batches_are_whole_and_repeatable(self, recipe: object) -> None:
        images, textures = photograph(6), torch.rand(6, 3, 64, 96, generator=generator())
        batch = recipe.synthesize(images, textures, generator(2), panels=True)  # type: ignore[attr-defined]
        again, other = (recipe.synthesize(images, textures, generator(seed), panels=True) for seed in (2, 3))  # type: ignore[attr-defined]
        assert torch.equal(batch.images, again.images) and not torch.equal(batch.images, other.images)
        assert torch.equal(batch.labels, again.labels)
        assert batch.images.min() >= 0
        assert batch.images.max() <= 1
        assert torch.equal(batch.clean, images)
        changed = (batch.images != images).any(1).float()
        near = torch.nn.functional.max_pool2d(changed, 11, stride=1, padding=5) > 0
        assert not ((batch.labels > 0) & ~near).any()
        assert batch.labels.any()

    def test_where_one_level_acts_the_fusion_is_equation_one(self) -> None:
        images, textures = photograph(1), torch.rand(1, 3, 64, 96, generator=generator())
        masks = torch.zeros(3, 1, 64, 96, dtype=torch.bool)
        masks[2, :, 20:40, 20:40] = True
        allowed = torch.ones(1, 64, 96, dtype=torch.bool)
        allowed[:, :, 30:] = False
        jnd = jnd_map(images)
        for additive in (False, True):
            fused, alphas = omnial.fuse(images, textures, masks, allowed, jnd=jnd, additive=additive)
            assert not alphas[:, ~allowed].any()
            weight = alphas[2][:, None] * (jnd + 0.1)
            assert torch.allclose(fused, weight * textures + (1 - weight) * images, atol=1e-6)

    def test_labels_follow_the_visibility(self) -> None:
        images = photograph(1)
        union = torch.ones(1, 64, 96, dtype=torch.bool)
        assert not omnial.refine_labels(images, images, union).any()
        opposite = 1 - images
        assert omnial.refine_labels(images, opposite, union).eq(1).float().mean() > 0.9
        union[:] = False
        assert not omnial.refine_labels(images, opposite, union).any()

    def test_labels_of_a_batch_are_those_of_its_images(self) -> None:
        images = photograph(3)
        union = torch.zeros(3, 64, 96, dtype=torch.bool)
        union[1, 10:40, 10:40] = True
        labels = omnial.refine_labels(images, 1 - images, union)
        each = [omnial.refine_labels(images[k : k + 1], 1 - images[k : k + 1], union[k : k + 1]) for k in range(3)]
        assert torch.equal(labels, torch.cat(each))
        assert labels.flatten(1).any(1).tolist() == [False, True, False]

    def test_levels_of_jnld_fold_into_one(self) -> None:
        images, textures = photograph(8), torch.rand(8, 3, 64, 96, generator=generator())
        labels = jnld.synthesize(images, textures, generator(), anomalous=1, levels=1).labels
        assert set(labels.unique().tolist()) == {0, 1}
