"""Adversarial sets: composition, bounds on the saved bytes, seals."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from omnial_bench.attacks import attacking
from omnial_bench.attacks.aim import Aim
from omnial_bench.attacks.objectives import balanced
from omnial_bench.attacks.sets.build import Composed, build_sets, compose, load_set
from omnial_bench.attacks.sets.compose import add_anomalies, split
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.data.images import Images
from omnial_bench.errors import UserError
from omnial_bench.io.whole import sha256
from omnial_bench.types import Detector, Prediction

HEIGHT, WIDTH = 32, 40


class OneLayer(Detector):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, padding=1)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            self.layer.weight.copy_(torch.randn(self.layer.weight.shape, generator=generator))
            self.layer.bias.zero_()

    def forward(self, images: Tensor) -> Prediction:
        return Prediction(self.layer(images))


def normals(counts: dict[str, int]) -> Images:
    """Noisy images: a dark disc for `cap`, an object of the embedded data set, and stripes for `weave`, a texture."""
    categories = tuple(name for name, n in counts.items() for _ in range(n))
    rows, columns = torch.meshgrid(torch.arange(HEIGHT) - 16, torch.arange(WIDTH) - 20, indexing="ij")
    drawn = {"cap": torch.where(rows**2 + columns**2 < 144, 60, 200), "weave": 120 + 60 * (columns // 8 % 2)}
    images = torch.zeros(len(categories), 3, HEIGHT, WIDTH, dtype=torch.uint8)
    for index, name in enumerate(categories):
        noise = torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(index - categories.index(name)))
        images[index] = (drawn[name] + 6 * noise).clamp(0, 255)
    ids = tuple(f"{name}/train/good/{i:03}" for name, n in counts.items() for i in range(n))
    masks = torch.zeros(len(categories), HEIGHT, WIDTH, dtype=torch.bool)
    return Images(images, masks, categories, ("good",) * len(ids), ids)


@cache
def composed(seed: int = 0, limit: int | None = None, **counts: int) -> Composed:
    return compose(normals(counts or {"cap": 5, "weave": 5}), limit=limit, seed=seed, dataset="toy")


def suite(*threats: dict[str, object]) -> Suite:
    rows = threats or ({"name": "pgd-8", "eps": "8/255", "steps": 3},)
    return Suite(name="test", title="Test", threats=tuple(Threat.model_validate(row) for row in rows))


def build(out: Path, *threats: dict[str, object], made: Composed | None = None, models=None, **settings) -> list[Path]:
    models = {"one-unified": OneLayer(1)} if models is None else models
    given = {"seed": 0, "batch": 4, "dataset": "toy", "data_fingerprint": "f00d", **settings}
    hashes = dict.fromkeys(models, "ab" * 32)
    return build_sets(models, made or composed(), suite(*threats), out=out, source_hashes=hashes, **given)


@pytest.mark.parametrize(
    ("n", "limit", "want"), [(10, None, (2, 8)), (10, 5, (1, 4)), (2, None, (1, 1)), (1, None, (0, 1))]
)
def test_split_is_exact(n, limit, want) -> None:
    normal, synthetic = split(n, 0.8, limit, torch.Generator().manual_seed(0))
    assert (len(normal), len(synthetic)) == want
    assert not set(normal) & set(synthetic)
    assert set(normal) | set(synthetic) <= set(range(n))


def test_composition() -> None:
    made = composed(cap=10, weave=5)
    images = made.images
    kinds = list(zip(images.categories, images.defects, strict=True))
    assert {kind: kinds.count(kind) for kind in kinds} == {
        ("cap", "good"): 2, ("cap", "synthetic"): 8, ("weave", "good"): 1, ("weave", "synthetic"): 4,
    }  # fmt: skip
    assert len(set(images.ids)) == 15 and images.ids[0].startswith("cap/test/good/")
    synthetic = torch.tensor([defect == "synthetic" for defect in images.defects])
    changed = (images.images != images.references).any(1)
    for marked, where in ((changed, synthetic), (images.masks, synthetic), (made.regions, ~synthetic)):
        assert torch.equal(marked.flatten(1).any(1), where)
        assert not marked[~made.objects].any()
    objects = torch.tensor([name == "cap" for name in images.categories])
    assert made.objects[~objects].all()
    assert made.objects[objects].float().mean() == pytest.approx(np.pi * 144 / (HEIGHT * WIDTH), rel=0.05)


def test_references_are_the_normals_they_come_from() -> None:
    source = normals({"cap": 4})
    made = compose(source, seed=1, dataset="toy", limit=3)
    assert len(made.images) == 3
    for index, name in enumerate(made.images.ids):
        assert torch.equal(made.images.references[index], source.images[int(name[-3:])])


def test_a_category_does_not_depend_on_the_others() -> None:
    alone, together, other_seed = composed(weave=5), composed(cap=3, weave=5), composed(seed=1, weave=5)
    assert torch.equal(alone.images.images, together.images.images[3:])
    assert not torch.equal(alone.images.images, other_seed.images.images)


def test_a_flat_image_on_which_nothing_can_be_seen_is_logged(caplog) -> None:
    source = normals({"weave": 2})
    made = compose(replace(source, images=torch.zeros_like(source.images)), seed=0, dataset="toy")
    assert not made.images.masks.any()
    assert "no visible anomaly" in caplog.text


def test_given_textures_are_used() -> None:
    clean, everywhere = torch.zeros(4, 3, HEIGHT, WIDTH).byte(), torch.ones(4, HEIGHT, WIDTH).bool()
    red = torch.tensor([255, 0, 0]).byte().view(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH)
    images, masks = add_anomalies(clean, everywhere, red, torch.Generator().manual_seed(0))
    assert masks.flatten(1).any(1).all()
    assert (images[:, 0] > images[:, 2])[masks].float().mean() > 0.9


@pytest.mark.parametrize(
    "threat",
    [
        {"eps": "8/255", "goal": "target"},
        {"eps": "8/255", "where": "foreground"},
        {"eps": "1/2", "norm": "l2"},
        {"eps": "3/510"},
    ],
    ids=str,
)
def test_round_trip_keeps_the_bound(tmp_path, threat) -> None:
    made, eps = composed(), float(Fraction(threat["eps"]))
    (folder,) = build(tmp_path, {"name": "t", "steps": 3} | threat, made=made)
    opened = load_set(folder)
    for category in opened.categories:
        clean_images = opened.load(category)
        rows = [made.images.ids.index(name) for name in clean_images.ids]
        assert torch.equal(clean_images.references, made.images.references[rows])
        assert torch.equal(clean_images.masks, made.images.masks[rows])
        assert torch.equal(opened.originals(category), made.images.images[rows])
        change = (clean_images.images.int() - opened.originals(category).int()).abs()
        assert change.flatten(1).any(1).all()
        if threat.get("norm") == "l2":
            assert ((change / 255).flatten(1).norm(dim=1) <= eps + 1e-6).all()
        else:
            assert change.max() == opened.manifest.largest_change == int(255 * eps)
        if threat.get("where") == "foreground":
            assert not change.any(1)[~made.objects[rows]].any()


def test_manifest_says_how_the_set_came_to_be(tmp_path) -> None:
    models = {"one-unified": OneLayer(1), "two-unified": OneLayer(2)}
    (folder,) = build(tmp_path, {"name": "pgd-8", "eps": "8/255", "steps": 4}, models=models, seed=3)
    table = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert table["label"] == "linf 8/255"
    assert [source["name"] for source in table["sources"]] == ["one-unified", "two-unified"]
    assert table["size"] == [HEIGHT, WIDTH]
    assert table["counts"] == {"cap": {"good": 1, "synthetic": 4}, "weave": {"good": 1, "synthetic": 4}}
    assert (table["seed"], table["dataset"], table["data_fingerprint"]) == (3, "toy", "f00d")
    assert Fraction(table["threat"]["step_size"]) == Fraction(5, 255)
    first, *_, last = steps = table["loss"]["steps"]
    assert len(steps) == 4 and last > first
    assert len(table["files"]) == 2 * (2 + 4 * 4)
    for name, entry in table["files"].items():
        assert sha256(folder / name) == entry["sha256"]
        assert (entry["change"] is not None) == ("/test/" in name)
    opened = load_set(folder)
    assert (opened.name, opened.label, opened.source) == ("pgd-8", "linf 8/255", "one-unified+two-unified")
    assert (opened.categories, opened.size) == (("cap", "weave"), (HEIGHT, WIDTH))


@pytest.mark.parametrize(
    ("threat", "step"),
    [
        ({"attack": "apgd"}, Fraction(16, 255)),
        ({"attack": "apgd", "step_size": "3/255"}, Fraction(3, 255)),
        ({"eps": "1", "steps": 1}, Fraction(5, 2)),
        ({"attack": "noise", "steps": 1}, None),
        ({"eps": "0"}, None),
    ],
)
def test_manifest_names_the_step_that_was_taken(tmp_path, threat, step) -> None:
    """Null where the attack has none; what is written can be read, a step beyond [0, 1] too."""
    (folder,) = build(tmp_path, {"name": "t", "eps": "8/255", "steps": 2} | threat)
    table = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert "step_size" in table["threat"]
    assert load_set(folder).manifest.threat.step_size == step


def test_control_is_the_same_images_before_the_attack(tmp_path) -> None:
    made = composed()
    folders = build(tmp_path, {"name": "unattacked", "eps": "0"}, {"name": "t", "eps": "8/255", "steps": 1}, made=made)
    control, attacked = (load_set(folder) for folder in folders)
    assert (control.label, control.source) == ("none", "none")
    assert (control.manifest.largest_change, control.manifest.loss.steps) == (0, ())
    for category in control.categories:
        assert torch.equal(control.load(category).images, attacked.originals(category))
        assert not torch.equal(control.load(category).images, attacked.load(category).images)


@pytest.mark.parametrize(("goal", "touched"), [("hide", "synthetic"), ("fabricate", "good")])
def test_one_sided_goals_leave_the_other_kind_alone(tmp_path, goal, touched) -> None:
    (folder,) = build(tmp_path, {"name": "t", "eps": "8/255", "steps": 2, "goal": goal})
    for name, entry in load_set(folder).manifest.files.items():
        if entry.change is not None:
            assert (entry.change > 0) == (f"/{touched}/" in name)


def test_attack_does_what_its_goal_says(tmp_path) -> None:
    """On the files, each image's loss towards its own target map is lower than before."""
    made, model = composed(), OneLayer(1)
    (folder,) = build(tmp_path, {"name": "t", "eps": "8/255", "goal": "target"}, made=made, models={"one": model})
    for category in ("cap", "weave"):
        clean_images = load_set(folder).load(category)
        rows = [made.images.ids.index(name) for name in clean_images.ids]
        with torch.no_grad():
            before, after = (
                balanced(model(images), Aim(made.regions[rows], images))
                for images in (made.images.batch(rows).images, clean_images.batch(range(len(rows))).images)
            )
        assert (after < before).all()


def hashes(folder: Path) -> dict[str, str]:
    return {path: file.sha256 for path, file in load_set(folder).manifest.files.items()}


def test_same_seed_same_bytes(tmp_path) -> None:
    one, same, other = (build(tmp_path / name, seed=seed)[0] for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert hashes(one) == hashes(same)
    assert (one / "manifest.json").read_bytes() == (same / "manifest.json").read_bytes()
    assert hashes(one) != hashes(other)


def test_random_numbers_belong_to_the_image_whatever_the_batch(tmp_path) -> None:
    """To the byte where no network is asked. A convolution may sum its 28 numbers in another order in another batch,
    and a value whose slope is 0 but for that goes the other way: one in a million, and what is reached stays."""
    noise, pgd = {"name": "noise", "attack": "noise", "eps": "8/255", "steps": 1}, {"name": "pgd", "eps": "8/255"}
    fours, threes = (build(tmp_path / str(size), noise, pgd, batch=size) for size in (4, 3))
    assert hashes(fours[0]) == hashes(threes[0])
    one, other = (load_set(each[1]) for each in (fours, threes))
    for category in one.categories:
        assert (one.load(category).images != other.load(category).images).float().mean() < 0.001
    assert one.manifest.loss.steps == pytest.approx(other.manifest.loss.steps, rel=1e-5)


def test_progress_counts_images(tmp_path) -> None:
    seen: list[tuple[str, int, int]] = []
    build(tmp_path, progress=lambda name, done, total: seen.append((name, done, total)))
    assert seen == [("pgd-8", 4, 10), ("pgd-8", 5, 10), ("pgd-8", 9, 10), ("pgd-8", 10, 10)]


def test_set_that_exceeds_its_bound_is_refused(tmp_path, monkeypatch) -> None:
    """An attack that quantises carelessly: the earlier set stays, and nothing is left behind."""
    (folder,) = build(tmp_path)
    before = (folder / "manifest.json").read_bytes()

    def careless(_: Tensor, originals: Tensor, __: object) -> Tensor:
        return (originals.int() + 9).clamp(0, 255).to(torch.uint8)

    monkeypatch.setattr(attacking, "quantise", careless)
    with pytest.raises(UserError, match="within linf 8/255 of its original, the saved file changes by up to 9/255"):
        build(tmp_path)
    assert (folder / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["pgd-8"]


def test_what_is_no_set_is_not_replaced(tmp_path) -> None:
    thesis = tmp_path / "pgd-8" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("kept")
    with pytest.raises(UserError, match="something else"):
        build(tmp_path)
    assert thesis.read_text() == "kept"


@pytest.fixture(scope="module")
def whole_set(tmp_path_factory) -> Path:
    (folder,) = build(tmp_path_factory.mktemp("sets"))
    return folder


PART = "weave/test/good"


def image_of(folder: Path) -> Path:
    return next((folder / PART).iterdir())


def edited(change: Callable[[Any, str], object]) -> Callable[[Path], object]:
    """Harm in the manifest: `change` gets its table and the name of an image."""

    def harm(folder: Path) -> None:
        path = folder / "manifest.json"
        table = json.loads(path.read_text(encoding="utf-8"))
        change(table, f"{PART}/{image_of(folder).name}")
        path.write_text(json.dumps(table), encoding="utf-8")

    return harm


def renamed(to: str) -> Callable[[Path], object]:
    return edited(lambda table, name: table["files"].update({to.format(name): table["files"].pop(name)}))


def linked(folder: Path) -> None:
    image, outside = image_of(folder), folder.parent / "outside.png"
    image.rename(outside)
    image.symlink_to(outside)
    edited(lambda *_: None)(folder)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (lambda folder: Image.new("RGB", (WIDTH, HEIGHT)).save(image_of(folder)), f"{PART}/.* is not the file"),
    "missing": (lambda folder: image_of(folder).unlink(), f"{PART}/.* is missing in the folder"),
    "foreign": (lambda folder: (folder / "cap/test/good/x.png").touch(), "cap/test/good/x.png in the folder does not"),
    "truncated": (lambda folder: os.truncate(folder / "manifest.json", 400), "cannot read"),
    "gone": (lambda folder: (folder / "manifest.json").unlink(), "found no manifest.json"),
    "key": (edited(lambda table, _: table.update(lable=table.pop("label"))), "label"),
    "absolute": (renamed("/{}"), "expected a path inside the set"),
    "upwards": (renamed("weave/../../x.png"), "expected a path inside the set"),
    "unpaired": (edited(lambda table, name: table["files"].pop(name.replace("test", "clean"))), "missing in its man"),
    "largest": (edited(lambda table, _: table.update(largest_change=200)), "as the largest change, its files say"),
    "counts": (edited(lambda table, _: table["counts"]["weave"].update(good=9)), "weave counts"),
    "link": (linked, "expected a path inside the set"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_set_is_refused(tmp_path, whole_set, what) -> None:
    folder = shutil.copytree(whole_set, tmp_path / "set")
    load_set(folder)
    harm, expected = DAMAGES[what]
    harm(folder)
    with pytest.raises(UserError, match=expected) as error:
        load_set(folder)
    assert "\n" not in str(error.value)


def understated(table: Any, _: str) -> None:
    attacked = {name: file for name, file in table["files"].items() if file["change"]}
    next(file for name, file in attacked.items() if name.startswith("weave/"))["change"] -= 1
    table["largest_change"] = max(file["change"] for file in attacked.values())


@pytest.mark.parametrize("claim", [lambda table, _: table["threat"].update(eps="1/255"), understated])
def test_what_a_manifest_claims_of_the_attack_is_measured(tmp_path, whole_set, claim) -> None:
    assert load_set(whole_set).load("weave").images.shape[1:] == (3, HEIGHT, WIDTH)
    edited(claim)(folder := shutil.copytree(whole_set, tmp_path / "set"))
    with pytest.raises(UserError, match=r"weave/test/.* from the image before the attack, the manifest says"):
        load_set(folder).load("weave")


def test_unknown_category_names_the_closest(whole_set) -> None:
    with pytest.raises(UserError, match="did you mean 'weave'"):
        load_set(whole_set).load("weaves")
