"""A training spread over two processes is the training of one, but for rounding, which a young network magnifies."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from learning import narrow, trained
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from shared_detectors import DIES_AT
from torch import Tensor, distributed, nn

from omnial_bench.config.load import read_plan
from omnial_bench.config.schema import Recipe
from omnial_bench.errors import UserError
from omnial_bench.models import gradient, training
from omnial_bench.models.checkpoint import RECIPE, load
from omnial_bench.models.distributed import SharedNorm, extremes, mean_of, ranks, share, share_norms
from omnial_bench.models.losses import value_range
from omnial_bench.models.training import LOG
from omnial_bench.models.unfinished import STATE
from omnial_bench.pipeline.plan import Settings, check_plan
from omnial_bench.processes import Each, crew
from omnial_bench.runtime import fabric
from omnial_bench.types import Synthetic

SIDE, STEPS = 64, 3
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pair() -> Iterator[Each]:
    """Two processes for all tests that lose none."""
    with crew(dict, (), 2, lambda _: None) as each:
        yield each


def together(each: Each, work: Callable[[int], Any]) -> list[Any]:
    """What two processes that know each other make of their ranks."""
    port = find_free_network_port()
    return each(_met, [(rank, port, work) for rank in range(2)])


def _met(_: Any, task: tuple[int, int, Callable[[int], Any]], __: Any) -> Any:
    rank, port, work = task
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        return work(rank)
    finally:
        distributed.destroy_process_group()


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestSharedNorm:
    """The whole batch is far from zero, its halves are far from each other, and no loss is the same for both."""

    @staticmethod
    def features() -> Tensor:
        return drawn(1, 6, 3, 4, 5) * 2 + 50 + 3 * torch.arange(6)[:, None, None, None]

    @staticmethod
    def norm() -> nn.BatchNorm2d:
        norm = nn.BatchNorm2d(3, momentum=0.3).double()
        nn.init.normal_(norm.weight, 1, 0.5, generator=torch.Generator().manual_seed(2))
        nn.init.normal_(norm.bias, 0, 0.5, generator=torch.Generator().manual_seed(3))
        return norm

    @staticmethod
    def passed(norm: nn.BatchNorm2d, features: Tensor, weights: Tensor) -> dict[str, "np.ndarray[Any, Any]"]:
        features = features.clone().requires_grad_()
        made = norm(features)
        (made**2 * weights).sum().backward()
        assert features.grad is not None and norm.weight.grad is not None and norm.bias.grad is not None
        found = {"made": made, "features": features.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
        found |= dict(norm.named_buffers())
        return {name: value.detach().numpy() for name, value in found.items()}

    @classmethod
    def half(cls, rank: int) -> dict[str, "np.ndarray[Any, Any]"]:
        own = slice(3 * rank, 3 * rank + 3)
        return cls.passed(SharedNorm(cls.norm()), cls.features()[own], drawn(4, 6, 3, 4, 5)[own])

    def test_is_batch_norm_of_the_whole_batch(self, pair: Each) -> None:
        first, second = together(pair, self.half)
        whole = self.passed(self.norm(), self.features(), drawn(4, 6, 3, 4, 5))
        for name in ("made", "features"):
            np.testing.assert_allclose(np.concatenate((first[name], second[name])), whole[name], rtol=0, atol=1e-10)
        for name in ("weight", "bias"):
            np.testing.assert_allclose(first[name] + second[name], whole[name], rtol=1e-10)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            np.testing.assert_array_equal(first[name], second[name])
            np.testing.assert_allclose(first[name], whole[name], rtol=1e-10)

    def test_is_the_norm_itself_outside_training(self) -> None:
        norm = self.norm().eval()
        shared = SharedNorm(norm)
        assert torch.equal(shared(self.features()), norm(self.features()))
        assert not shared.training
        assert [id(value) for value in shared.parameters()] == [id(value) for value in norm.parameters()]

    def test_takes_the_place_of_every_batch_norm_under_the_same_names(self) -> None:
        network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.GroupNorm(4, 4)))
        names = list(network.state_dict())
        share_norms(network)
        assert list(network.state_dict()) == names
        assert [type(part) for part in network.modules()][3:] == [SharedNorm, nn.GroupNorm]
        with pytest.raises(UserError, match="got BatchNorm1d"):
            share_norms(nn.Sequential(nn.BatchNorm1d(3)))


def across(rank: int) -> list[float]:
    own = torch.tensor([[-0.7, 0.2], [0.1, 200.0]])[rank]
    low, high = extremes(own)
    return [float(low), float(high), float(value_range(own)), float(mean_of({"a": own[1]})["a"]), ranks()]


def test_what_looks_across_the_batch_looks_across_the_processes(pair: Each) -> None:
    assert together(pair, across) == [pytest.approx([-0.7, 200.0, 256.0, 100.1, 2])] * 2
    assert ranks() == 1
    assert [float(value) for value in extremes(torch.tensor([1.0, -2.0]))] == [-2, 1]


def test_shares_are_parts_of_one_size() -> None:
    batch = Synthetic(drawn(1, 4, 3, 2, 2), drawn(2, 4, 3, 2, 2), torch.arange(16).reshape(4, 2, 2))
    parts = [share(batch, rank, 2) for rank in range(2)]
    for name in ("images", "clean", "labels"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
        assert {len(getattr(part, name)) for part in parts} == {2}
    assert parts[0].jnd is None


def recipe(detector: str, **settings: object) -> Recipe:
    return narrow(detector, SIDE, **{"max_iterations": STEPS, "validation": 0.4, **settings})


def bytes_of(seed: int, count: int) -> Tensor:
    coarse = torch.randint(0, 256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(seed)).float()
    return nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear").to(torch.uint8)


def run(out: Path, made: Recipe, *, each: Each | None = None, **how: Any) -> dict[str, Tensor]:
    """Train; several devices are the processes of `each` where these are given."""
    with pytest.MonkeyPatch.context() as patch:
        if each is not None:
            patch.setattr(training, "crew", lambda *_, **__: nullcontext(each))
        return trained(out, made, bytes_of(7, 12), bytes_of(8, 5), trusted=[made.detector], **how)


def curve(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / LOG).drop(columns="images_per_second")


def assert_same_training(out: Path, other: Path) -> None:
    """In float64, where each step magnifies rounding: 3e-11 of a loss was seen, 8e-9 of weights that moved by 3e-4."""
    one, two = curve(out), curve(other)
    pd.testing.assert_frame_equal(
        one.drop(columns="validation_ap"), two.drop(columns="validation_ap"), rtol=1e-8, atol=0
    )
    # In float32, and of ranks: pixels that lie next to each other may change places.
    pd.testing.assert_series_equal(one["validation_ap"], two["validation_ap"], rtol=0, atol=1e-5)
    first, second = (load(folder, trusted=["shared_detectors:exact"]).detector.state_dict() for folder in (out, other))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-6


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps in float64 by one process."""
    out = tmp_path_factory.mktemp("alone")
    torch.set_num_threads(1)
    run(out, recipe("shared_detectors:exact"))
    return out


class TestTraining:
    def test_is_that_of_one_process(self, alone: Path, tmp_path: Path, pair: Each) -> None:
        run(tmp_path, recipe("shared_detectors:exact"), each=pair, devices=2)
        assert_same_training(tmp_path, alone)
        assert {path.name for path in tmp_path.iterdir()} == {path.name for path in alone.iterdir()}
        assert curve(tmp_path)["validation_ap"].notna().tolist() == [True, False, False, True]

    @pytest.mark.parametrize("detector", ["draem", "omnial"])
    def test_of_the_detectors_in_single_precision(self, detector: str, tmp_path: Path, pair: Each) -> None:
        """The first loss is all but the same; what follows differs as much as by weights 1e-7 away."""
        made = recipe(detector, max_iterations=4)
        run(tmp_path / "one", made)
        run(tmp_path / "two", made, each=pair, devices=2)
        one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
        pd.testing.assert_frame_equal(two[:1], one[:1], rtol=5e-5)
        np.testing.assert_allclose(two["loss"], one["loss"], rtol=0.05)

    def test_features_made_twice_change_nothing(self, tmp_path: Path, pair: Each) -> None:
        made = recipe("draem", max_iterations=2)
        kept = run(tmp_path / "kept", made, each=pair, devices=2)
        twice = run(tmp_path / "twice", made, each=pair, devices=2, recompute=True)
        assert all(torch.equal(kept[name], twice[name]) for name in kept)


class TestResumed:
    def test_by_one_process_after_one_of_two_died(self, alone: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"^a worker process died.* with fewer devices"):
            run(tmp_path, recipe("shared_detectors:dying"), devices=2)
        assert (tmp_path / STATE).is_file()
        assert not (tmp_path / RECIPE).exists()
        steps: list[int] = []
        run(tmp_path, recipe("shared_detectors:exact"), progress=lambda done, *_: steps.append(done))
        # The step before the last one may not have been saved in time.
        assert steps in ([2, 3], [3]) and DIES_AT == 3
        assert_same_training(tmp_path, alone)

    def test_by_two_processes(self, alone: Path, tmp_path: Path, pair: Each) -> None:
        def stop(done: int, *_: object) -> None:
            if done == 2:
                raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gradient, "SAVE_SECONDS", 0.0)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path, recipe("shared_detectors:exact"), progress=stop)
        saved = pd.read_csv(tmp_path / LOG)
        assert saved["iteration"].tolist() == [0, 1]
        run(tmp_path, recipe("shared_detectors:exact"), each=pair, devices=2)
        assert_same_training(tmp_path, alone)
        # The step of the first process is in the log as it wrote it, its speed too.
        assert pd.read_csv(tmp_path / LOG)["images_per_second"][1] == saved["images_per_second"][1]


class TestMistakes:
    @pytest.mark.parametrize("device", ["cpu:1", "cuda"])
    def test_devices_that_are_not_there(self, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        with pytest.raises(UserError, match=r"expected (device auto, cpu or cuda for 2|2 CUDA) devices"):
            fabric(device, "32-true", 2)

    def test_jobs_and_devices_at_once(self, tmp_path: Path) -> None:
        settings = Settings(data=tmp_path, out=tmp_path / "out", device="cpu", jobs=2, devices=2)
        with pytest.raises(UserError, match="got 2 jobs on 2 devices"):
            check_plan(read_plan("demo"), settings)
