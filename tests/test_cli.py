"""The command line as its users meet it: what each command prints, its exit status, and mistakes in one line."""

import json
import math
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import Command, Said, contents
from PIL import Image

from omnial_bench.cli.main import COMMANDS, SECTIONS
from omnial_bench.config.load import record_names
from omnial_bench.models import gradient
from omnial_bench.pipeline import train_and_attack, train_task
from omnial_bench.results import COLUMNS


@pytest.fixture(scope="module")
def finished(mini: Path) -> Path:
    """A folder with `data`, records, a plan, a trained `model` and its `sets`; never changed."""
    said = train_and_attack.train_models(
        str(mini / "mini.toml"), data=mini / "data", categories=["cap"], paradigm="unified", preset="tiny",
        textures=None, out=mini / "model", device="cpu", precision="32-true", seed=0, watch=lambda _: None,
    )  # fmt: skip
    train_and_attack.attack_models(
        str(mini / "two.toml"), [str(said[0])], data=mini / "data", categories=None, limit=None, out=mini / "sets",
        device="cpu", precision="32-true", seed=0, watch=lambda _: None,
    )  # fmt: skip
    return mini


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil, which is the working folder."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_names_every_command_without_torch() -> None:
    code = "import sys; from omnial_bench.cli.main import main; sys.argv = ['omnial-bench', '--help']\n"
    code += "try: main()\nfinally: sys.exit('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in (*COMMANDS, *SECTIONS))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_a_seed(command: Command, name: str) -> None:
    assert command(f"{name} --help").status == 0
    names = ["list", "download", "verify", "toy"] if name == "data" else [""]
    for inner in names:
        shown = command(f"{name} {inner} --help")
        assert (shown.status, shown.err) == (0, "")
        assert "--seed" in shown.out


class TestShow:
    def test_detectors_with_their_cost(self, command: Command) -> None:
        (fitted,) = json.loads(command("show detectors gaussian --preset tiny --json").out)
        assert fitted["parameters"] is fitted["flops"] is None and fitted["size"] == [48, 48]
        (trained,) = json.loads(command("show detectors draem --preset tiny --json").out)
        assert trained["parameters"]["total"] == sum(v for k, v in trained["parameters"].items() if k != "total")
        assert trained["flops"] > 1e6 and trained["size"] == [48, 48]
        assert "97,422,725" in command("show detectors draem --preset paper").out
        # torchvision's 24,862,528 of a wide ResNet-50 up to its third stage, less the norms' 19,776 scales: folded in.
        assert "backbone 24,842,752" in command("show detectors patchcore --preset paper").out

    def test_lists(self, command: Command) -> None:
        detectors = json.loads(command("show detectors --json").out)
        assert set(detectors[0]) == {"name", "title", "source", "presets"}
        assert [row["name"] for row in detectors] == record_names("models")
        (paper,) = (row for row in json.loads(command("show attacks --json").out) if row["name"] == "paper")
        assert paper["threats"] == ["unattacked", "pgd-4", "pgd-8", "pgd-8-targeted"]
        plans = {row["name"]: row for row in json.loads(command("show plans --json").out)}
        assert plans["real-small"]["categories"] == ["bottle", "grid", "transistor"]
        for kind, word in (("detectors", "OmniAL"), ("attacks", "pgd-8-targeted"), ("plans", "real-small")):
            assert word in command(f"show {kind}").out

    def test_one_record(self, command: Command) -> None:
        assert json.loads(command("show detectors jnld-panels --json").out)["options"] == {"panels": True}
        assert json.loads(command("show attacks paper --json").out)["threats"][1]["eps"] == "4/255"
        assert 'detector = "omnial"' in command("show detectors omnial").out
        assert 'dataset = "visa"' in command("show plans visa").out


class TestSteps:
    def test_one_after_the_other(self, command: Command, place: Path) -> None:
        line = "train mini.toml --data data --category cap --paradigm separate --preset tiny --seed 3 --out new"
        assert command(line) == Said(0, "model new/mini-separate-cap\n", "")
        folder = place / "new/mini-separate-cap"
        assert {"checkpoint.safetensors", "recipe.toml", "log.csv"} == set(contents(folder))
        assert "seed = 3" in (folder / "recipe.toml").read_text()
        # With its speeds, which another training would write otherwise.
        before = contents(folder)
        assert command(line).status == 0
        assert contents(folder) == before

        said = command(
            "attack two.toml --source new/mini-separate-cap --source model --data data --limit 2 --seed 5 --out pairs"
        )
        assert said == Said(0, "set pairs/unattacked\nset pairs/pgd-8\n", "")
        manifest = json.loads((place / "pairs/pgd-8/manifest.json").read_text())
        assert [source["name"] for source in manifest["sources"]] == ["mini-separate-cap", "mini-unified"]
        assert (manifest["seed"], sum(manifest["counts"]["cap"].values())) == (5, 2)

        line = "score new/mini-separate-cap model/checkpoint.safetensors --data data --set pairs/pgd-8 --out rows"
        rows = json.loads(command(f"{line} --json").out)
        assert set(rows[0]) == set(COLUMNS)
        assert {row["paradigm"] for row in rows} == {"separate", "unified"}
        assert {row["source"] for row in rows} == {"none", "mini-separate-cap+mini-unified"}
        shown = command(line)
        assert shown.status == 0 and "rows rows/results.csv" in shown.out
        assert "pixel_auroc" in shown.out and "pgd-8" in shown.out


def test_a_category_without_anomalies_has_undefined_figures_and_its_run_a_report(command: Command, place: Path) -> None:
    for folder in ("test", "ground_truth"):
        for defect in (place / "data/cap" / folder).iterdir():
            if defect.name != "good":
                shutil.rmtree(defect)
    scored = json.loads(command("score model --data data --out rows --json").out)
    values = {row["metric"]: row["value"] for row in scored if row["category"] == "cap"}
    assert values["pixel_ap"] is None and values["psnr"] > 0
    change("plan.toml", '"cap"', '"cap", "weave"')(place)
    said = command(f"{RUN} --device cpu")
    assert said.status == 0 and all(
        re.fullmatch(r"\[\d+/17\] .+  \d+:\d\d(, (more than )?about \d+ s left)?", line)
        for line in said.err.splitlines()
    )
    assert len(said.err.splitlines()) == 17
    assert said.out.splitlines()[0] == "rows   out/results.csv"
    assert {"report out/report.md", "report out/report.pdf"} <= set(said.out.splitlines())
    lines = (place / "out/results.csv").read_text().splitlines()[1:]
    rows = [dict(zip(COLUMNS, line.split(","), strict=True)) for line in lines]
    clean = {row["category"]: row["value"] for row in rows if (row["set"], row["metric"]) == ("clean", "pixel_auroc")}
    assert clean["cap"] == "" and clean["mean"] == clean["weave"] != ""


def change(path: str, old: str, new: str) -> Callable[[Path], None]:
    def apply(place: Path) -> None:
        text = (place / path).read_text()
        assert old in text
        (place / path).write_text(text.replace(old, new))

    return apply


def damage(pattern: str, content: bytes | None = b"none") -> Callable[[Path], None]:
    def apply(place: Path) -> None:
        path = sorted(place.glob(pattern))[-1]
        path.unlink() if content is None else path.write_bytes(content)

    return apply


def small_mask(place: Path) -> None:
    path = sorted((place / "data/cap/ground_truth").rglob("*.png"))[-1]
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(path)


def no_normals(place: Path) -> None:
    shutil.rmtree(place / "data/cap/train/good")
    (place / "data/cap/train/good").mkdir()


def namesake(place: Path) -> None:
    shutil.copy(place / "mini.toml", place / "draem.toml")
    change("plan.toml", '["mini.toml"]', '["draem", "draem.toml"]')(place)


def nothing(_: Path) -> None:
    pass


RUN = "run plan.toml --data data --out out"
TRAIN = "train mini.toml --data data --category cap --preset tiny --out out"
ATTACK = "attack two.toml --source model --data data --out out"
SCORE = "score model --data data --set sets/pgd-8 --out out"

MISTAKES: list[tuple[Callable[[Path], None], str, str]] = [
    # names
    (change("plan.toml", "title", "= title"), RUN, "plan.toml is not valid TOML"),
    (nothing, "show detectors omnial --preset smal", "did you mean 'small'?"),
    (nothing, "show attacks papr", "did you mean 'paper'?"),
    (change("plan.toml", '["two.toml"]', '["paper", "two.toml"]'), RUN, "different names, 'unattacked' is there twice"),
    (namesake, RUN, "models of different names, 'draem-unified' is there twice"),
    (change("plan.toml", '["mini.toml"]', '["mini.toml", "omnial"]'), RUN, "one network size"),
    # suites, sizes, devices
    (change("two.toml", "8/255", "-1/255"), ATTACK, "threats.pgd-8.eps: expected a size from 0 to 1"),
    (change("two.toml", "8/255", "1/300"), ATTACK, "try 1/255"),
    (change("mini.toml", "[32, 32]", "[32, 40]"), TRAIN, "32 divides, got 32x40; try 32x32"),
    (nothing, f"{RUN} --device tpu", "unknown device 'tpu'"),
    (nothing, f"{TRAIN} --device cuda:99", "device 'cuda:99' is not there"),
    (nothing, f"{TRAIN} --device cpu --precision 16-mixed", "try bf16-mixed"),
    # data
    (nothing, "data verify nowhere", "no data folder at nowhere"),
    (damage("data/cap/train/good/*"), RUN, "cannot decode data/cap/train/good/004.png"),
    (damage("data/cap/test/good/*"), RUN, "cannot decode data/cap/test/good/001.png"),
    (damage("data/cap/train/good/*"), TRAIN, "cannot decode data/cap/train/good/004.png"),
    (damage("data/cap/train/good/*"), ATTACK, "cannot decode data/cap/train/good/004.png"),
    (damage("data/cap/test/good/*"), SCORE, "cannot decode data/cap/test/good/001.png"),
    (damage("data/cap/ground_truth/*/*"), RUN, "cannot decode data/cap/ground_truth/"),
    (damage("data/cap/ground_truth/*/*", None), RUN, "no mask for data/cap/test/"),
    (small_mask, RUN, "is 6x5, expected its image's 32x32"),
    (no_normals, RUN, "category 'cap' has no train images"),
    (nothing, f"{TRAIN} --textures model", "no images in model"),
    # checkpoints
    (damage("model/*.safetensors", b"\x10" * 99), SCORE, "no whole safetensors file"),
    (damage("model/*.safetensors", b"\x10" * 99), ATTACK, "no whole safetensors file"),
    (change("model/recipe.toml", '"draem"', '"jnld"'), ATTACK, "the weights of another detector than jnld"),
    # adversarial sets
    (damage("sets/pgd-8/cap/test/*/*.png"), SCORE, "is not the file of the manifest"),
    # where to write
    *[
        (nothing, line.replace("--out out", "--out plan.toml/out"), "cannot write to plan.toml/out")
        for line in (RUN, TRAIN, ATTACK, SCORE, "demo --out out")
    ],
    (nothing, RUN.replace("--out out", "--out s3://bucket/run"), "expected a folder, got the URL s3://bucket/run"),
    (nothing, "data toy plan.toml/out", "cannot write to plan.toml/out"),
    (nothing, TRAIN.replace("--out out", "--out model --seed 1"), "model holds a finished training"),
    (nothing, "report nowhere", "no results at nowhere"),
    (nothing, "check nowhere --baseline nowhere", "no results at nowhere"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "line", "words"), MISTAKES, ids=[f"{words}, {line}" for _, line, words in MISTAKES])
def test_a_mistake_is_one_line_and_status_2_and_nothing_is_written(
    command: Command, place: Path, spoil: Callable[[Path], None], line: str, words: str
) -> None:
    spoil(place)
    before = contents(place)
    said = command(line)
    assert (said.status, said.out) == (2, ""), said
    assert said.err.count("\n") == 1 and said.err.startswith("error: "), said.err
    assert words in said.err
    assert contents(place) == before
    assert not (place / "out").exists()


def test_a_full_disk_is_one_line(command: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient, "SAVE_SECONDS", math.inf)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        said = command(TRAIN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (said.status, said.err) == (2, "error: File too large: out/checkpoint.safetensors\n")
    assert set(contents(place / "out")) == {"log.csv"}
    assert command(TRAIN).status == 0


def test_room_is_asked_for_where_there_is_none(command: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(28, "No space left on device", str(place / "out"))
    monkeypatch.setattr(train_task, "train", Mock(side_effect=full))
    said = command(TRAIN)
    assert said.status == 2
    assert said.err == f"error: No space left on device: {place / 'out'}; make room and give the same command again\n"


def test_an_interrupt_is_one_line_and_the_same_command_goes_on(command: Command, place: Path) -> None:
    line = TRAIN.replace("--category cap", "--category cap --category gear --paradigm separate")
    with pytest.MonkeyPatch.context() as patch:
        done: list[Any] = []
        train = train_task.train

        def interrupted(*arguments: Any, **settings: Any) -> Any:
            if done:
                raise KeyboardInterrupt
            done.append(train(*arguments, **settings))

        patch.setattr(train_task, "train", interrupted)
        said = command(line)
    assert said == Said(130, "", "interrupted; what is done stays, the same command goes on from there\n")
    first = contents(place / "out/mini-separate-cap")
    assert not (place / "out/mini-separate-gear").exists()
    assert command(line).status == 0
    assert contents(place / "out/mini-separate-cap") == first
    assert (place / "out/mini-separate-gear/recipe.toml").is_file()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_from_the_keyboard_or_a_scheduler_ends_the_process(place: Path, sent: signal.Signals) -> None:
    line = TRAIN.replace("--preset tiny", "--preset endless")
    # A shell starts what runs in the background with interrupts ignored, and children inherit that.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from omnial_bench.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *line.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        limit = time.monotonic() + 60
        # The folder is made when training begins.
        while not (place / "out").exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)
        process.send_signal(sent)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, "")
    assert err == "interrupted; what is done stays, the same command goes on from there\n"
