"""The same figures on a CUDA device as on the CPU, but for rounding. Nothing here runs without one."""

from pathlib import Path

import pytest
import torch
from linear_detector import Linear, clean_images, threat, worst
from masked import Honest, toy_images

from omnial_bench.attacks.aim import Aim
from omnial_bench.attacks.attacking import Looks, attack_images
from omnial_bench.attacks.building import build_attack
from omnial_bench.attacks.checks import check_threat
from omnial_bench.attacks.objectives import OBJECTIVES
from omnial_bench.attacks.sets.compose import Composed
from omnial_bench.attacks.threats import ATTACKS
from omnial_bench.attacks.victim import victim
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.evaluation.scoring import score
from omnial_bench.evaluation.target import Labels
from omnial_bench.metrics.intervals import Intervals
from omnial_bench.metrics.ranking import Ranking
from omnial_bench.models.checkpoint import load
from omnial_bench.pipeline.train_and_attack import train_models
from omnial_bench.types import Prediction

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    odds = 5 * torch.randn(3, 16, 16, generator=generator)
    made, truth = torch.rand(3, 3, 16, 16, generator=generator), torch.rand(3, 16, 16, generator=generator) > 0.8
    found = []
    for device in ("cpu", "cuda"):
        here = odds.to(device).requires_grad_(True)
        logits = torch.stack((torch.zeros_like(here), here), 1)
        aim = Aim(truth.to(device), made.to(device) / 2)
        value = OBJECTIVES[name](Prediction(logits, made.to(device), pooling=3), aim)
        (slope,) = torch.autograd.grad(value.sum(), here) if value.requires_grad else (None,)
        found.append((value.detach().cpu(), None if slope is None else slope.cpu()))
    (one, its), (other, others) = found
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    assert its is others is None or torch.allclose(its, others, rtol=1e-3, atol=1e-6)


def test_pgd_reaches_the_worst_change_of_a_linear_detector() -> None:
    detector = Linear().cuda()
    images, truth = (part.cuda() for part in clean_images())
    with victim([detector]) as target:
        attack = build_attack(target, threat("pgd", steps=20, objective="linear"), torch.Generator().manual_seed(0))
        attacked = attack(images, truth)
    assert torch.allclose(attacked, worst(images, truth, detector.weight.detach()), atol=1e-6)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_keeps_its_ball(name: str) -> None:
    """`attack_images` measures each image on the bytes."""
    settings = {"steps": 1 if ATTACKS[name].fixed.get("steps") == 1 else 4, "goal": ATTACKS[name].goals[0]}
    settings["objective"] = ATTACKS[name].fixed.get("objective", "ranking")
    if ATTACKS[name].fixed.get("eps") or name == "patch":
        settings["eps"] = 1
    made = threat(name, **settings)
    check_threat(made)
    shown = toy_images()
    whole = Composed(shown, torch.ones_like(shown.masks), torch.ones_like(shown.masks))
    looks = Looks([Honest().cuda()], whole.images, seed=0, device="cuda")
    parts = list(attack_images(looks, whole, made, threshold=-1e3))
    assert sum(len(part.rows) for part in parts) == len(shown)
    assert any((part.images != shown.images[part.rows]).any() for part in parts)


def test_metrics() -> None:
    maps, masks = torch.randn(9, 20, 20), torch.rand(9, 20, 20) > 0.9
    scores, labels = maps.flatten(1).amax(1), torch.arange(9) % 2 == 0
    found = []
    for device in ("cpu", "cuda"):
        ranking, intervals = Ranking(), Intervals()
        ranking.update(maps.to(device), masks.to(device))
        intervals.update(maps.to(device), masks.to(device), scores.to(device), labels)
        found.append((ranking.compute(), intervals.compute()))
    assert found[0] == found[1]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", ["draem", "jnld", "omnial"])
def test_what_is_trained_there_scores_here(name: str, precision: str, tmp_path: Path) -> None:
    record = tmp_path / "record.toml"
    record.write_text(
        f'detector = "{name}"\ntitle = "t"\nsource = "none"\n[presets.tiny]\nsize = [32, 32]\n'
        "training = { epochs = 9, max_iterations = 3, batch = 4 }\n"
        "options = { width = 4, loc_width = 4, pooling = 5 }\n"
    )
    draw_toy(tmp_path / "data", size=32, train=6, test_good=3, test_defect=1)
    train_models(
        str(record), data=tmp_path / "data", categories=["cap"], paradigm="unified", preset="tiny", textures=None,
        out=tmp_path / "model", device="cuda", precision=precision, seed=0, watch=lambda _: None,
    )  # fmt: skip
    detector = load(tmp_path / "model").detector
    labels = Labels(detector=name, paradigm="unified", preset="tiny", dataset="toy", seed=0, run="r")
    here, there = (
        score(detector.to(device), toy_images(), labels, "noise", device=device) for device in ("cpu", "cuda")
    )
    for one, other in zip(here, there, strict=True):
        assert one.value == pytest.approx(other.value, abs=0.02 if one.metric != "psnr" else 0.1), one.metric
