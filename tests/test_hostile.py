"""Files from elsewhere run no code and lead into no other folder: checkpoints, images, notes of tasks, indices."""

import os
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
import torch
from fake_run import DETECTORS, fake_rows, fake_run
from one_task import remembered
from PIL import Image
from pydantic import ValidationError

from omnial_bench.cli.terminal import show
from omnial_bench.config.load import read_suite
from omnial_bench.config.schema import Recipe
from omnial_bench.data.decode import open_image, read_image
from omnial_bench.data.levels import read_levels
from omnial_bench.errors import UserError
from omnial_bench.evaluation.target import Outcome, load_detector
from omnial_bench.io.whole import write_text
from omnial_bench.models import checkpoint
from omnial_bench.models.checkpoint import RECIPE, WEIGHTS, Provenance, load, provenance_of, save
from omnial_bench.models.registry import build
from omnial_bench.pipeline.request import Request
from omnial_bench.pipeline.score_models import assess
from omnial_bench.pipeline.task_cache import Cache, Inputs, write_note
from omnial_bench.reports.document import write_report
from omnial_bench.results import read_rows, write_rows

TINY = Recipe(detector="draem", preset="tiny", size=(32, 32), options={"width": 4, "loc_width": 4, "pooling": 5})


def trained(folder: Path, *, seed: int = 0, **about: Any) -> str:
    """A checkpoint with untrained weights."""
    made = provenance_of(
        "mine", "unified", ["cap"], dataset="toy", data_fingerprint="f", seed=0, precision="32-true", key="k"
    )(1).model_dump()
    save(folder, build(TINY, torch.Generator().manual_seed(seed)), TINY, Provenance(**{**made, **about}))
    return str(folder)


def edit(folder: Path, **changes: Any) -> None:
    record = tomllib.loads((folder / RECIPE).read_text(encoding="utf-8"))
    record["recipe"] |= changes
    write_text(folder / RECIPE, tomli_w.dumps(record))


class TestCheckpoint:
    def test_code_that_it_names_is_not_run_unless_trusted(self, tmp_path: Path) -> None:
        trained(tmp_path / "model")
        made = tmp_path / "made"
        edit(tmp_path / "model", detector="os:mkdir", options={"path": str(made)})
        for opened in (load, load_detector):
            for trusted in ((), ["os:mkdir"]):
                with pytest.raises(UserError, match=r"recipe.toml asks to run os:mkdir, of Python's standard library"):
                    opened(tmp_path / "model", trusted=trusted)
        with pytest.raises(UserError, match="standard library"):
            assess(Request(data=tmp_path, out=tmp_path / "out", checkpoints=(str(tmp_path / "model"),)))
        assert not made.exists()

    @pytest.mark.parametrize("field", ["detector", "model", "categories"])
    def test_names_lead_into_no_folder(self, tmp_path: Path, field: str) -> None:
        trained(tmp_path)
        record = tomllib.loads((tmp_path / RECIPE).read_text(encoding="utf-8"))
        for name in ("/../../../out", "a/b", "a\\b", "", "a\nb"):
            record["provenance"][field] = [name] if field == "categories" else name
            with pytest.raises(ValidationError):
                Provenance(**record["provenance"])
            write_text(tmp_path / RECIPE, tomli_w.dumps(record))
            with pytest.raises(UserError, match=field):
                load(tmp_path)

    def test_layers_may_share_weights(self, tmp_path: Path) -> None:
        weight = torch.rand(3)
        checkpoint.write_tensors(tmp_path / WEIGHTS, {"one": weight, "two": weight, "part": weight[1:]}, {})
        found, _ = checkpoint.read_tensors(tmp_path / WEIGHTS)
        assert found["one"].equal(weight) and found["two"].equal(weight) and found["part"].equal(weight[1:])


def test_a_image_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "x.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(UserError, match="no known image format"):
        open_image(tmp_path / "x.png")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../victim", "/victim", "a/../../victim"])
def test_a_note_of_a_task_names_no_file_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "victim").write_text("mine")
    inputs = Inputs({"seed": 0})
    write_note(tmp_path / "run" / ".tasks", "score", inputs.key, {"files": {name: "0" * 64}})
    entry = Cache(tmp_path / "run").read("score", inputs)
    assert entry.damaged == (tmp_path / "run" / ".tasks" / "score.json",) and "outside" in entry.reasons[0]


class TestReport:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        return fake_run(tmp_path / "deep" / "er" / "run", size=(32, 32))

    def test_names_are_text_and_lead_nowhere(self, run: Path, tmp_path: Path) -> None:
        names = ("x)<img src=x onerror=alert(1)>", "/../../../outside", "$\\bad$")
        rows, index = read_rows(run), pd.read_csv(run / "examples" / "index.csv", dtype=str, keep_default_na=False)
        for detector, name in zip(DETECTORS, names, strict=True):
            rows.loc[(rows["detector"] == detector) & (rows["paradigm"] == "separate"), "paradigm"] = name
            index["model"] = index["model"].str.replace(f"{detector}-separate", f"{detector}-{name}", regex=False)
        write_rows(run / "results.csv", rows)
        index.to_csv(run / "examples" / "index.csv", index=False)
        before = {path for path in tmp_path.rglob("*") if run not in path.parents}
        write_report(run, ["md", "html"])
        assert {path for path in tmp_path.rglob("*") if run not in path.parents} == before
        text = (run / "report.md").read_text(encoding="utf-8")
        assert "<img" not in text and "<img src=x" not in (run / "report.html").read_text(encoding="utf-8")
        assert [link for link in re.findall(r"\]\(([^)]+)\)", text) if not (run / link).is_file()] == []

    def test_a_bomb_among_the_images_is_one_line(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
        with pytest.raises(UserError, match="more than 500 pixels"):
            write_report(run, ["md"])


def test_what_others_make_of_images_is_made_again_with_them(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite that shows images to every model: a model that was trained again is shown them again."""
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))
    threats = [{"name": "seen-8", "eps": "8/255", "steps": 1}]
    suite = {"name": "seen", "title": "Seen", "against": "each", "threats": threats}
    write_text(tmp_path / "seen.toml", tomli_w.dumps(suite))

    def rows(out: str) -> pd.DataFrame:
        models = (str(tmp_path / "one"), str(tmp_path / "other"))
        request = Request(
            data=toy_data, out=tmp_path / out, checkpoints=models, suites=(str(tmp_path / "seen.toml"),), device="cpu"
        )
        return assess(request).drop(columns="run")

    trained(tmp_path / "one", detector="one")
    trained(tmp_path / "other", detector="other", seed=1)
    first = rows("out")
    shutil.rmtree(tmp_path / "other")
    trained(tmp_path / "other", detector="other", seed=2)
    again = rows("out")
    assert not first.equals(again)
    pd.testing.assert_frame_equal(again, rows("fresh"))


def test_a_side_of_millions_of_pixels_is_refused(tmp_path: Path) -> None:
    """Few pixels, and what reduces them to the network's size would need all memory."""
    Image.new("1", (200_000, 1)).save(tmp_path / "x.png")
    for read in (open_image, read_image, read_levels):
        with pytest.raises(UserError, match=r"more than 32,768 pixels on a side"):
            read(tmp_path / "x.png")


@pytest.mark.parametrize(
    "value",
    [
        {"rows": 3}, {"rows": None}, {"rows": [{"x": 1}]}, {"rows": [], "attempts": [{}]}, {"examples": [7]},
        {"rows": [], "attempts": [], "examples": [], "files": [1]}, {"files": None}, {"files": {"\ud800": ""}},
    ],
)  # fmt: skip
def test_a_note_of_a_task_that_is_none_is_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: dict[str, Any]
) -> None:
    write_note(tmp_path / ".tasks", "score", Inputs({"seed": 0}).key, value)
    assert remembered(tmp_path, "score", Outcome) == Outcome()
    assert "made again" in caplog.text and (tmp_path / ".tasks" / "score.json.damaged").is_file()
    assert remembered(tmp_path, "score", lambda: pytest.fail("made again")) == Outcome()


def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show(pd.DataFrame({"source": ["[/x]", "[red]hid"]}), title="[/q]", as_json=False)
    said = capsys.readouterr().out
    assert all(text in said for text in ("[/x]", "[red]hid", "[/q]"))


def test_prose_may_stand_on_several_lines(tmp_path: Path) -> None:
    text = 'name = "x"\ntitle = """\nTwo\n\tlines\n"""\nthreats = [{ name = "a", eps = "0" }]\n'
    write_text(tmp_path / "x.toml", text)
    assert read_suite(str(tmp_path / "x.toml")).title == "Two lines"


def test_a_table_of_others_is_left_alone(toy_data: Path, tmp_path: Path) -> None:
    """A results.csv that no rows are in, in a folder that nothing was scored into."""
    trained(tmp_path / "model")
    (tmp_path / "out").mkdir()
    write_text(tmp_path / "out" / "results.csv", "run,accuracy\n1,0.9\n")
    with pytest.raises(UserError, match="lacks the column"):
        assess(Request(data=toy_data, out=tmp_path / "out", checkpoints=(str(tmp_path / "model"),)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.csv"]


def test_records_hold_no_text_that_cannot_be_printed(tmp_path: Path) -> None:
    write_text(tmp_path / "x.toml", 'name = "x"\ntitle = "a\\u001b[2J"\nthreats = [{ name = "a", eps = "0" }]\n')
    with pytest.raises(UserError, match=r"x\.toml: title: expected text of one line"):
        read_suite(str(tmp_path / "x.toml"))
    write_rows(tmp_path / "results.csv", fake_rows().assign(category="a\x1b[2J"))
    with pytest.raises(UserError, match="for 'category'"):
        read_rows(tmp_path)
