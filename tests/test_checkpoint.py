"""A checkpoint comes back as it was, or one line says what is wrong with it."""

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from omnial_bench.config.schema import Recipe
from omnial_bench.errors import UserError
from omnial_bench.evaluation.target import load_detector
from omnial_bench.io.whole import sha256
from omnial_bench.models import registry
from omnial_bench.models.checkpoint import (
    RECIPE,
    WEIGHTS,
    load,
    provenance_of,
    read_provenance,
    read_tensors,
    save,
    write_tensors,
)
from omnial_bench.models.draem import DRAEM, Options
from omnial_bench.models.registry import build
from omnial_bench.types import Detector, Prediction

TINY = Recipe(detector="draem", preset="tiny", size=(32, 32), options={"width": 4, "loc_width": 4})
ABOUT = provenance_of(
    "mine", "separate", ["cap"], dataset="toy", data_fingerprint="f", seed=3, precision="32-true", key="k"
)


@pytest.fixture(scope="module")
def made() -> Detector:
    return build(TINY, torch.Generator().manual_seed(5)).eval()


@pytest.fixture
def folder(made: Detector, tmp_path: Path) -> Path:
    save(tmp_path / "model", made, TINY, ABOUT(12))
    return tmp_path / "model"


def test_a_checkpoint_comes_back_to_the_bit(folder: Path, made: Detector) -> None:
    for path in (folder, folder / WEIGHTS, str(folder)):
        found = load(path)
        assert (found.recipe, found.provenance) == (TINY, ABOUT(12))
        assert found.sha256 == sha256(folder / WEIGHTS)
        assert not found.detector.training
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_detector(folder)(images).logits, made(images).logits)
    assert read_provenance(folder) == ABOUT(12)
    assert read_provenance(folder.parent) is None


@pytest.mark.parametrize("name", ["draem", "jnld", "omnial"])
def test_opening_draws_nothing_and_gives_what_building_gives(name: str, tmp_path: Path, monkeypatch) -> None:
    recipe = TINY.model_copy(update={"detector": name})
    built = build(recipe, torch.Generator().manual_seed(5)).eval()
    save(tmp_path, built, recipe, ABOUT(1))
    monkeypatch.setattr("omnial_bench.models.checkpoint.build", lambda *_, **__: pytest.fail("built"))
    opened = load(tmp_path).detector
    content = (tmp_path / WEIGHTS).read_bytes()
    # What is read by way of a mapped file would change with it.
    (tmp_path / WEIGHTS).write_bytes(bytes(len(content)))
    for kind in ("named_parameters", "named_buffers"):
        found, expected = (dict(getattr(detector, kind)()) for detector in (opened, built))
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            assert torch.equal(found[key], tensor) and found[key].stride() == tensor.stride()
            assert found[key].requires_grad == tensor.requires_grad
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(opened(images).logits, built(images).logits)


class Apart(DRAEM):
    """Computes with numbers that are in no file."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.register_buffer("shift", torch.full((3, 1, 1), 0.25), persistent=False)
        self.scale = torch.tensor(0.5)

    def forward(self, images: torch.Tensor) -> Prediction:
        return super().forward(images * self.scale + self.shift)


def test_what_is_in_no_file_is_what_the_constructor_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.DETECTORS, "apart", (Apart, Options))
    recipe = TINY.model_copy(update={"detector": "apart"})
    built = build(recipe, torch.Generator().manual_seed(5)).eval()
    save(tmp_path, built, recipe, ABOUT(1))
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(load(tmp_path).detector(images).logits, built(images).logits)


def weights(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))


def change_recipe(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / RECIPE).read_text()
        assert old in text
        (folder / RECIPE).write_text(text.replace(old, new))

    return change


def take_the_weights_of_another(folder: Path) -> None:
    wide = TINY.model_copy(update={"options": {"width": 8, "loc_width": 4}})
    save(folder.parent / "wide", build(wide), wide, ABOUT(1))
    shutil.copy(folder.parent / "wide" / WEIGHTS, folder / WEIGHTS)
    change_recipe(tomllib.loads((folder / RECIPE).read_text())["sha256"], sha256(folder / WEIGHTS))(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (weights(lambda content: content[:-100]), "is no whole safetensors file"),
        (weights(lambda _: b""), "is no whole safetensors file"),
        (weights(lambda content: content[:-1] + bytes([content[-1] ^ 1])), "does not match the hash"),
        (lambda folder: (folder / WEIGHTS).unlink(), "checkpoint.safetensors is missing"),
        (lambda folder: (folder / RECIPE).unlink(), "recipe.toml is missing"),
        (change_recipe("\nseed = ", "\nseed = 1"), "its checksum differs"),
        (change_recipe('dataset = "', 'dataset = "x'), "its checksum differs"),
        (change_recipe('detector = "draem"', 'detector = "jnld"'), "the weights of another detector than jnld"),
        (change_recipe('detector = "draem"', 'detector = "draam"'), "did you mean 'draem'"),
        (change_recipe("preset = ", "prest = "), "unknown key 'recipe.prest'; did you mean 'recipe.preset'?"),
        (change_recipe("[recipe]", "[recipe"), "is not valid TOML"),
        (take_the_weights_of_another, "the weights of another detector than draem"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(folder: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(folder)
    with pytest.raises(UserError) as caught:
        load(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_of_an_earlier_version_has_no_checksum(folder: Path) -> None:
    text = (folder / RECIPE).read_text()
    (folder / RECIPE).write_text(text[text.index("sha256") :])
    assert load(folder).provenance == ABOUT(12)


def test_a_path_beside_a_checkpoint_is_not_taken_for_it(folder: Path) -> None:
    for name in ("typo", "typo.safetensors", RECIPE):
        with pytest.raises(UserError, match="checkpoint"):
            load(folder / name)


def test_tensors_keep_their_metadata_and_layout_does_not_matter(tmp_path: Path) -> None:
    image = torch.rand(1, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    write_tensors(tmp_path / "a", {"x": image}, {"step": "3"})
    tensors, notes = read_tensors(tmp_path / "a")
    assert torch.equal(tensors["x"], image)
    assert notes == {"step": "3"}
