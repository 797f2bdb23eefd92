from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from omnial_bench.data import decode
from omnial_bench.data.textures import CROPS, load_textures
from omnial_bench.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "dtd"
    for level, name in enumerate(("banded/a.jpg", "banded/b.jpg", "deep/er/c.png", "d.png")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), 60 * level, np.uint8)).save(path)
    (root / "labels.txt").write_text("not an image")
    return root


def test_images_at_any_depth_are_resized_whole(folder: Path) -> None:
    textures = load_textures(folder, (16, 8))
    assert textures.shape == (4, 3, 16, 8) and textures.dtype == torch.uint8
    assert textures[:, 0, 0, 0].tolist() == [0, 60, 180, 120]


def test_they_are_cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_textures(folder, (8, 8))
    monkeypatch.setattr(decode, "read_image", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(load_textures(folder, (8, 8)), first)


def test_a_limit_draws_by_the_seed(folder: Path) -> None:
    levels = [load_textures(folder, (8, 8), limit=2, seed=seed)[:, 0, 0, 0].tolist() for seed in range(8)]
    assert all(len(set(pair)) == 2 for pair in levels) and len({tuple(pair) for pair in levels}) > 1
    assert levels[3] == load_textures(folder, (8, 8), limit=2, seed=3)[:, 0, 0, 0].tolist()
    assert len(load_textures(folder, (8, 8), limit=9)) == 4


def test_missing_empty_and_broken_sources_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    with pytest.raises(UserError, match="no texture folder at"):
        load_textures(tmp_path / "none", (8, 8))
    with pytest.raises(UserError, match="no images in"):
        load_textures(tmp_path / "void", (8, 8))
    with pytest.raises(UserError, match="at least 1 texture"):
        load_textures(None, (8, 8), limit=0)
    (folder / "banded/b.jpg").write_text("broken")
    with pytest.raises(UserError, match=r"cannot decode .*b\.jpg"):
        load_textures(folder, (8, 8))


def test_bundled_photographs_give_different_crops_by_seed() -> None:
    crops = load_textures(None, (24, 40))
    assert crops.shape == (3 * CROPS, 3, 24, 40) and crops.dtype == torch.uint8
    assert torch.equal(crops, load_textures(None, (24, 40)))
    assert not torch.equal(crops[:6], load_textures(None, (24, 40), limit=6, seed=1))
    assert torch.equal(crops[:6], load_textures(None, (24, 40), limit=6))
    assert len(torch.unique(crops.flatten(1), dim=0)) == 3 * CROPS
    assert crops.float().flatten(1).std(1).min() > 5, "a crop without structure"
