"""The training loop: repeatable, resumable, and honest about what it was trained on."""

import csv
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from learning import narrow, trained
from lightning_fabric import Fabric
from torch import Tensor

from omnial_bench.config.load import parse
from omnial_bench.config.schema import Recipe, Training
from omnial_bench.errors import UserError
from omnial_bench.io.whole import without_none, write_text
from omnial_bench.models import gradient
from omnial_bench.models.checkpoint import RECIPE, WEIGHTS, load, read_tensors, write_tensors
from omnial_bench.models.draem import DRAEM
from omnial_bench.models.schedule import by_epoch, iterations_of, learning_rate, split_normals
from omnial_bench.models.training import LOG, is_trained
from omnial_bench.models.unfinished import STATE
from omnial_bench.progress import Progress
from omnial_bench.runtime import Precision
from omnial_bench.types import Synthetic

STEPS = 6
NORMALS = 20


pytestmark = pytest.mark.usefixtures("one_thread")


def recipe(detector: str = "draem", **settings: object) -> Recipe:
    return narrow(detector, 32, **{"max_iterations": STEPS, "lr": 1e-3, **settings})


def normals() -> Tensor:
    """Each image can be told from the others by its first pixel."""
    images = torch.randint(0, 256, (NORMALS, 3, 32, 32), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)
    images[:, :, 0, 0] = torch.arange(NORMALS, dtype=torch.uint8)[:, None]
    return images


def textures() -> Tensor:
    return torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(8), dtype=torch.uint8)


def run(out: Path, made: Recipe | None = None, **how: Any) -> dict[str, Tensor]:
    return trained(out, made or recipe(), normals(), textures(), **how)


def stopped(out: Path, made: Recipe | None = None, *, at: int, key: str = "key") -> None:
    """A training that saved after every step and was killed at step `at`, before that one was saved."""

    def kill(done: int, *_: object) -> None:
        if done == at:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient, "SAVE_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            run(out, made, key=key, progress=kill)
    assert (out / STATE).is_file()
    assert not (out / RECIPE).is_file()


def into(steps: list[int]) -> Progress:
    """Progress that notes the steps done."""
    return lambda done, *_: steps.append(done)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def read_log(out: Path) -> list[dict[str, str]]:
    """The log to the letter, without the one column that the clock decides."""
    rows = csv.DictReader((out / LOG).read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    torch.set_num_threads(1)
    run(out)
    return out


@pytest.fixture
def weights(undisturbed: Path) -> dict[str, Tensor]:
    return load(undisturbed).detector.state_dict()


class TestRepeatable:
    def test_a_seed_decides_every_bit(self, undisturbed: Path, weights: dict[str, Tensor], tmp_path: Path) -> None:
        torch.manual_seed(99)
        assert same(run(tmp_path / "again"), weights)
        assert read_log(tmp_path / "again") == read_log(undisturbed)
        assert not same(run(tmp_path / "other", seed=1), weights)

    def test_fabric_gives_the_same_bits(self, weights: dict[str, Tensor], tmp_path: Path, monkeypatch) -> None:
        """It trains on several devices and in less than float32; here one device in float32 does without it."""
        monkeypatch.setattr(gradient, "fabric", lambda *_: Fabric(accelerator="cpu", devices=1))
        assert same(run(tmp_path), weights)

    @pytest.mark.parametrize("detector", ["draem", "omnial"])
    def test_features_made_twice_change_nothing(self, detector: str, tmp_path: Path) -> None:
        made = recipe(detector, max_iterations=3)
        assert same(run(tmp_path / "twice", made, recompute=True), run(tmp_path / "kept", made))

    def test_what_is_written(self, undisturbed: Path) -> None:
        assert {path.name for path in undisturbed.iterdir()} == {WEIGHTS, RECIPE, LOG}
        log = pd.read_csv(undisturbed / LOG)
        assert " ".join(log.columns) == "iteration loss mse ssim focal lr images_per_second validation_ap"
        assert log["iteration"].tolist() == list(range(STEPS + 1))
        assert log["loss"][1:].to_numpy() == pytest.approx(log[["mse", "ssim", "focal"]][1:].sum(axis=1).to_numpy())
        assert log["lr"][1:].to_numpy() == pytest.approx([1e-3] * 5 + [2e-4])
        assert log["validation_ap"].notna().tolist() == [True] + [False] * (STEPS - 1) + [True]
        assert load(undisturbed).provenance.iterations == STEPS


class TestPrecision:
    @pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
    def test_convolutions_compute_in_it_and_losses_do_not(
        self, precision: Precision, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        computed: set[torch.dtype] = set()
        losses: set[torch.dtype] = set()
        loss = DRAEM.loss

        def spy(self: DRAEM, batch: Synthetic) -> dict[str, Tensor]:
            hook = self.localisation.out.register_forward_hook(lambda _, __, made: computed.add(made.dtype))
            terms = loss(self, batch)
            hook.remove()
            losses.update(term.dtype for term in terms.values())
            return terms

        monkeypatch.setattr(DRAEM, "loss", spy)
        run(tmp_path, recipe(max_iterations=2), precision=precision)
        assert computed == {dtype}
        assert losses == {torch.float32}
        assert all(value.dtype != torch.bfloat16 for value in load(tmp_path).detector.state_dict().values())


class TestResumed:
    @pytest.mark.parametrize("at", [2, STEPS])
    def test_ends_as_if_undisturbed(
        self, at: int, undisturbed: Path, weights: dict[str, Tensor], tmp_path: Path
    ) -> None:
        stopped(tmp_path, at=at)
        assert pd.read_csv(tmp_path / LOG)["iteration"].tolist() == list(range(at))
        steps: list[int] = []
        assert same(run(tmp_path, progress=into(steps)), weights)
        assert steps == list(range(at, STEPS + 1))
        assert read_log(tmp_path) == read_log(undisturbed)
        assert not (tmp_path / STATE).exists()

    @pytest.mark.parametrize(
        ("at", "made"),
        [(2, {"draw": "epoch"}), (3, {"detector": "omnial", "max_iterations": 3})],
    )
    def test_in_the_middle_of_a_pass_and_with_all_parts_of_omnial(
        self, at: int, made: dict[str, Any], tmp_path: Path
    ) -> None:
        whole = run(tmp_path / "whole", recipe(**made))
        stopped(tmp_path / "broken", recipe(**made), at=at)
        assert same(run(tmp_path / "broken", recipe(**made)), whole)

    @pytest.mark.parametrize("damage", ["cut", "flip"])
    def test_a_damaged_state_is_set_aside(self, tmp_path: Path, weights: dict[str, Tensor], damage: str) -> None:
        stopped(tmp_path, at=3)
        content = bytearray((tmp_path / STATE).read_bytes())
        content[-1000] ^= 1
        (tmp_path / STATE).write_bytes(content if damage == "flip" else content[: len(content) // 2])
        steps: list[int] = []
        assert same(run(tmp_path, progress=into(steps)), weights)
        assert steps == list(range(1, STEPS + 1))
        assert [row["iteration"] for row in read_log(tmp_path)] == [str(step) for step in (0, *steps)]
        assert (tmp_path / f"{STATE}.damaged").is_file()

    def test_a_state_of_another_key_is_left_alone(self, tmp_path: Path) -> None:
        stopped(tmp_path, at=3, key="old")
        steps: list[int] = []
        run(tmp_path, key="new", progress=into(steps))
        assert steps == list(range(1, STEPS + 1))


class TestIsTrained:
    @pytest.fixture
    def folder(self, undisturbed: Path, tmp_path: Path) -> Path:
        for name in (WEIGHTS, RECIPE):
            (tmp_path / name).write_bytes((undisturbed / name).read_bytes())
        return tmp_path

    def test_a_finished_training_of_this_key(self, folder: Path) -> None:
        assert is_trained(folder, "key")
        assert not is_trained(folder, "other")

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda folder: (folder / WEIGHTS).unlink(), ""),
            (lambda folder: (folder / RECIPE).unlink(), ""),
            (lambda folder: write_text(folder / RECIPE, "sha256 = 3"), RECIPE),
            (lambda folder: other_weights(folder), "hash"),
        ],
    )
    def test_not_where_a_file_is_missing_or_another(
        self, folder: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None], said: str
    ) -> None:
        spoil(folder)
        assert not is_trained(folder, "key")
        assert said in caplog.text and bool(caplog.records) == bool(said)


def other_weights(folder: Path) -> None:
    tensors, metadata = read_tensors(folder / WEIGHTS)
    tensors["reconstruction.out.bias"] += 1
    write_tensors(folder / WEIGHTS, tensors, metadata)


class TestBudget:
    @pytest.mark.parametrize(
        ("epochs", "batch", "most", "count", "steps"),
        [(700, 8, None, 209, 18288), (1, 8, None, 17, 3), (700, 8, 100, 209, 100), (0.001, 8, None, 9, 1)],
    )
    def test_epochs_over_the_normals(self, epochs: float, batch: int, most: int | None, count: int, steps: int) -> None:
        assert iterations_of(Training(epochs=epochs, batch=batch, max_iterations=most), count) == steps

    def test_the_rate_falls_at_each_milestone(self) -> None:
        budget = Training(lr=1e-4, milestones=(0.8, 0.9), gamma=0.2)
        rates = [learning_rate(budget, step, 700) for step in (0, 559, 560, 629, 630, 699)]
        assert rates == pytest.approx([1e-4, 1e-4, 2e-5, 2e-5, 4e-6, 4e-6])


class TestHeldOut:
    @pytest.mark.parametrize(("count", "share", "held"), [(20, 0.1, 2), (20, 0.0, 0), (3, 0.01, 1), (1, 0.5, 0)])
    def test_a_partition(self, count: int, share: float, held: int) -> None:
        chosen, out = split_normals(count, share, torch.Generator().manual_seed(0))
        assert len(out) == held
        assert sorted([*chosen.tolist(), *out]) == list(range(count))

    @pytest.fixture
    def seen(self, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
        """The images of each step."""
        seen: list[list[int]] = []
        synthesize = DRAEM.synthesize

        def spy(self: DRAEM, images: Tensor, *given: Any) -> Synthetic:
            seen.append((images[:, 0, 0, 0] * 255).round().int().tolist())
            return synthesize(self, images, *given)

        monkeypatch.setattr(DRAEM, "synthesize", spy)
        return seen

    def test_held_out_normals_are_never_trained_on(self, tmp_path: Path, seen: list[list[int]]) -> None:
        run(tmp_path, recipe(max_iterations=40, validation=0.2))
        # The four held out come first, in one batch of four.
        assert len(seen) == 41 and len(set(seen[0])) == 4
        assert set().union(*seen[1:]) == set(range(NORMALS)) - set(seen[0])

    def test_a_pass_takes_every_normal_once(self, tmp_path: Path, seen: list[list[int]]) -> None:
        run(tmp_path / "epoch", recipe(draw="epoch", batch=8, epochs=3, max_iterations=None, validation=0.0))
        every = list(chain(*seen))
        passes = [every[start : start + NORMALS] for start in range(0, 3 * NORMALS, NORMALS)]
        assert all(sorted(one) == list(range(NORMALS)) for one in passes)
        assert passes[0] != passes[1] != passes[2]
        assert pd.read_csv(tmp_path / "epoch" / LOG)["validation_ap"].isna().all()
        seen.clear()
        run(tmp_path / "random", recipe(batch=8, epochs=3, max_iterations=None, validation=0.0))
        assert len(set(list(chain(*seen))[:NORMALS])) < NORMALS

    @pytest.mark.parametrize(("count", "batch"), [(5, 3), (4, 4), (2, 7), (1, 1), (7, 5)])
    def test_passes_follow_each_other_without_a_gap(self, count: int, batch: int) -> None:
        steps = [by_epoch(count, batch, step, seed=3) for step in range(4 * count)]
        assert all(len(step) == batch for step in steps)
        passes = torch.cat(steps).reshape(-1, count)
        assert torch.equal(passes.sort(1).values, torch.arange(count).expand(4 * batch, count))


def test_the_default_draw_leaves_recipes_as_they_were_written() -> None:
    for made in (recipe(), recipe(draw="random")):
        assert "draw" not in made.model_dump_json()
        assert Recipe.model_validate(without_none(made.model_dump(mode="json"))) == made
    chosen = recipe(draw="epoch")
    assert Recipe.model_validate_json(chosen.model_dump_json()) == chosen != recipe()
    with pytest.raises(UserError, match=r"training.draw: Input should be 'random' or 'epoch', got 'shuffle'"):
        parse(Recipe, {"detector": "draem", "preset": "x", "size": [32, 32], "training": {"draw": "shuffle"}}, "x.toml")


def test_a_loss_that_is_not_finite_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = DRAEM.loss
    monkeypatch.setattr(
        DRAEM,
        "loss",
        lambda self, batch: {n: t * float("nan") if n == "mse" else t for n, t in loss(self, batch).items()},
    )
    with pytest.raises(UserError, match=r"draem-unified: the loss is not finite at step 1; lower the learning rate"):
        run(tmp_path)
    assert not (tmp_path / RECIPE).exists()
