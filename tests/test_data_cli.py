import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from small_images import save

from omnial_bench.cli.data import data
from omnial_bench.data.catalog import CATALOG
from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.errors import UserError

pytestmark = pytest.mark.usefixtures("own_cache")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def user_error(result: Result) -> str:
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


def test_list_names_every_data_set_with_its_licence() -> None:
    shown = invoke("list")
    assert shown.exit_code == 0 and "3,629" in shown.output and "CC BY-NC-SA 4.0" in shown.output
    entries = {entry["name"]: entry for entry in json.loads(invoke("list", "--json").output)}
    assert entries["mvtec_ad"]["categories"]["bottle"] == {
        "kind": "object", "train": 209, "test_good": 20, "test_defect": 63,
    }  # fmt: skip
    assert set(entries) == {*CATALOG, "dtd"}


def test_download_says_where_to_obtain_it() -> None:
    message = user_error(invoke("download", "mvtec_ad"))
    assert "https://www.mvtec.com" in message and "<category>/train/good" in message and "\n" not in message
    assert "omnial-bench data toy DIR" in user_error(invoke("download", "toy"))
    assert "obtain it from https://github.com/stepanje/MPDD" in user_error(invoke("download", "mpdd"))
    assert "did you mean 'visa'" in user_error(invoke("download", "vissa"))


def test_verify_passes_a_sound_folder(toy_data: Path) -> None:
    shown = invoke("verify", toy_data)
    assert shown.exit_code == 0 and "broken_tooth 1" in shown.output
    found = json.loads(invoke("verify", toy_data, "--json").output)
    assert found["problems"] == [] and found["name"] == "toy"
    assert [c["category"] for c in found["counts"]] == ["brushed", "cap", "gear", "weave"]
    assert found["counts"][2] == {
        "category": "gear", "train": 5, "test_good": 2, "test_defect": 3,
        "defects": {"broken_tooth": 1, "crack": 1, "rust": 1}, "published": [None, None, None],
        "masks": "levels 0, 255: anomalous is all but 0",
    }  # fmt: skip
    # Of one category alone.
    alone = invoke("verify", toy_data, "--category", "brushed")
    assert alone.exit_code == 0 and "only 5 training images" in alone.output and "cap" not in alone.output
    assert "did you mean 'brushed'" in user_error(invoke("verify", toy_data, "--category", "brush"))


def test_verify_lists_problems_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_toy(tmp_path, size=32, train=2, test_good=1, test_defect=1)
    (tmp_path / "cap/train/good/001.png").write_bytes(b"not an image")
    (tmp_path / "cap/ground_truth/dent/000_mask.png").unlink()
    (tmp_path / "weave/test/good/000.png").unlink()
    found = invoke("verify", tmp_path, "--json")
    problems = {problem["path"]: problem["what"] for problem in json.loads(found.output)["problems"]}
    assert found.exit_code == 1 and "cannot decode: it is in no known" in problems.pop("cap/train/good/001.png")
    assert problems == {
        "cap/test/dent/000.png": "no mask in ground_truth/dent", "weave/test/good": "no normal test images",
    }  # fmt: skip
    shown = invoke("verify", tmp_path)
    assert shown.exit_code == 1 and "problems: 3" in shown.output, shown.output
    monkeypatch.setattr("omnial_bench.cli.data_verify.SHOWN", 1)
    assert "and 2 more problems, all of them with --json" in invoke("verify", tmp_path).output


def test_verify_shows_what_differs_from_the_published_counts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        save(tmp_path / "bottle" / part / "good/000.png", np.zeros((5, 6), np.uint8))
    shown = invoke("verify", tmp_path)
    assert shown.exit_code == 0
    assert "bottle, 1 of 209 train, 1 of 20 test good, 0 of 63 test defect" in " ".join(shown.output.split())


def test_toy_draws_a_folder_that_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def few(root: Path, *, size: int, seed: int) -> None:
        draw_toy(root, size=size, train=1, test_good=1, test_defect=1, seed=seed)

    monkeypatch.setattr("omnial_bench.data.toy.make.draw_toy", few)
    assert invoke("toy", tmp_path / "new", "--size", 40, "--seed", 5).exit_code == 0
    with Image.open(tmp_path / "new/gear/train/good/000.png") as image:
        assert image.size == (40, 40)
    assert invoke("verify", tmp_path / "new").exit_code == 0
    assert "expected an image size" in user_error(invoke("toy", tmp_path / "large", "--size", 9999))


def test_the_cache_is_shown_and_emptied(toy_data: Path, own_cache: Path) -> None:
    assert "0 files, 0 bytes kept" in " ".join(invoke("cache").output.split())
    find_dataset(toy_data).load("train", ["cap"], (32, 32))
    (own_cache / "notes.json").write_text("of somebody else")
    (own_cache / ".cap.safetensors.0123abcd.part").touch()
    told = json.loads(invoke("cache", "--json").output)
    assert [(one["what"], one["files"]) for one in told["kept"]] == [("cap-train-32x32", 1)]
    assert told["kept"][0]["size"] > 5 * 3 * 32 * 32 and "cap-train-32x32" in invoke("cache").output
    assert "removed" in invoke("cache", "--empty").output
    assert [path.name for path in own_cache.iterdir() if path.suffix != ".lock"] == ["notes.json"]
