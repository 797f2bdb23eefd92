"""Mistakes in names, records and folders: told without torch, and in the words of whoever would find them later."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from omnial_bench.config.load import read_recipe
from omnial_bench.data.dataset import check_root, scan
from omnial_bench.errors import UserError
from omnial_bench.models.options.known import OPTIONS, check_options
from omnial_bench.models.registry import DETECTORS, skeleton

PLAN = """
name = "p"
title = "P"
dataset = "toy"
categories = ["cap"]
detectors = ["draem"]
preset = "tiny"
suites = ["quick"]
"""
MISTAKES = {
    "run nosuch --data data": "unknown plan 'nosuch'",
    "run nowhere.toml --data data": "cannot read nowhere.toml",
    "run key.toml --data data": "unknown key 'prest'",
    "run suite.toml --data data": "unknown suite 'quik'",
    "run detector.toml --data data": "unknown detector 'drem'",
    "run preset.toml --data data": "unknown preset of draem 'tinny'",
    "run size.toml --data data": "expected a network height and width that 32 divides, got 40x40",
    "run option.toml --data data": "unknown key 'wdth'",
    "run category.toml --data data": "unknown category 'cop'",
    "run threat.toml --data data": "unknown attack of threat a: 'pdg'",
    "run objective.toml --data data": "unknown objective 'balance'",
    "run setting.toml --data data": "unknown key 'bst'",
    "run crossing.toml --data data": "got draem, which holds no normal images out; leave one of the two out",
    "run guarded.toml --data data": "got guard.toml, whose defence smoothing changes its scores",
    "run good.toml --data data --textures nowhere": "no texture folder at nowhere",
    "run good.toml --data data --nosuch": "No such option",
    "run good.toml --data nowhere --dry-run": "no data folder at nowhere",
    "run good.toml --data data --json": "expected --json with --dry-run",
    "run good.toml --data data --address host:1": "expected --address with --engine ray",
    "run good.toml --data data --engine ray --jobs 2": "expected --jobs with the local engine",
    "run good.toml --data data --engine rya": "Invalid value for '--engine'",
    "run good.toml --data data --seed -1": "Invalid value for '--seed'",
    "run good.toml --data data --precision 64": "Invalid value for '--precision'",
    "run --data data": "Missing argument 'PLAN'",
    "rnu good.toml --data data": "unknown command 'rnu'; did you mean 'run'?",
    "train drem --data data": "unknown detector 'drem'",
    "train draem --preset tinny --data data": "unknown preset of draem 'tinny'",
    "train draem --data data --category cop": "unknown category 'cop'",
    "attack quik --source model --data data": "unknown suite 'quik'",
    "attack paper --source model --data data --category cop": "unknown category 'cop'",
    "attack paper --source nowhere --data data": "no checkpoint at nowhere",
    "score nowhere --data data": "no checkpoint at nowhere",
    "score model --data data --white-box quik": "unknown suite 'quik'",
    "score model --data data --set nowhere": "expected an adversarial set at nowhere",
    **{
        f"{line} --data {folder}": words
        for line in ("run good.toml", "train draem", "attack paper --source model", "score model")
        for folder, words in (
            ("nowhere", "no data folder at nowhere"),
            ("empty", "the folder is empty"),
            ("flat", "looked for <category>/train/good/*"),
        )
    },
}
"""Commands that cannot be done, and what they say."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with plans that are wrong in one thing each, a data set's folders and a model's files."""
    changed = {
        "good": ("", ""), "key": ('preset = "tiny"', 'prest = "tiny"'), "suite": ('["quick"]', '["quik"]'),
        "detector": ('["draem"]', '["drem"]'), "preset": ('"tiny"', '"tinny"'), "category": ('["cap"]', '["cop"]'),
        "option": ('["draem"]', '["own.toml"]'), "threat": ('["quick"]', '["threat-suite.toml"]'),
        "objective": ('["quick"]', '["objective-suite.toml"]'), "setting": ('["quick"]', '["setting-suite.toml"]'),
        "size": ('preset = "tiny"', 'preset = "paper"\nsize = [40, 40]'),
        "guarded": (
            'detectors = ["draem"]\npreset = "tiny"\nsuites = ["quick"]',
            'detectors = ["guard.toml"]\npreset = "tiny"\nsuites = ["minimal"]',
        ),
        "crossing": ('preset = "tiny"\nsuites = ["quick"]', 'preset = "paper"\nsuites = ["quick", "minimal"]'),
    }  # fmt: skip
    for name, (old, new) in changed.items():
        (tmp_path / f"{name}.toml").write_text(PLAN.replace(old, new) if old else PLAN)
    (tmp_path / "own.toml").write_text('base = "draem"\noptions = {wdth = 4}\n')
    (tmp_path / "guard.toml").write_text('base = "draem"\n[defence]\nname = "smoothing"\n')
    for name, keys in {
        "threat": 'attack = "pdg"', "objective": 'objective = "balance"', "setting": "options = {bst = true}",
    }.items():  # fmt: skip
        suite = f'name = "s"\ntitle = "S"\nagainst = "self"\nthreats = [{{name = "a", eps = "8/255", {keys}}}]\n'
        (tmp_path / f"{name}-suite.toml").write_text(suite)
    for folder in ("data/cap/train/good", "data/cap/test/good", "model", "empty", "flat/images/part"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("checkpoint.safetensors", "recipe.toml"):
        (tmp_path / "model" / file).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


HOW = """
import contextlib, io, json, sys
from omnial_bench.cli.main import main

told = {}
for command in json.loads(sys.argv[1]):
    sys.argv[1:] = [*command.split(), "--out", "out"]
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(said):
        try:
            main()
        except SystemExit as end:
            told[command] = [end.code, said.getvalue(), "torch" in sys.modules]
print(json.dumps(told))
"""


def test_a_mistake_is_told_without_torch(place: Path) -> None:
    """All in one interpreter, into which torch would come to stay; and nothing is written."""
    before = sorted(place.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", HOW, json.dumps(list(MISTAKES))], cwd=place, check=True, capture_output=True, text=True
    )
    told = json.loads(done.stdout)
    assert list(told) == list(MISTAKES)
    for command, expected in MISTAKES.items():
        status, line, torch = told[command]
        assert (status, torch, expected in line, line.count("\n")) == (2, False, True, 1), (command, line)
    assert sorted(place.rglob("*")) == before


def test_options_stand_where_the_detectors_look_for_them() -> None:
    assert {name: options for name, (_, options) in DETECTORS.items()} == dict(OPTIONS)


class TestSameWords:
    """What is told early is told later in the same words."""

    def test_of_folders(self, tmp_path: Path) -> None:
        for root in (tmp_path / "nowhere", tmp_path):
            said = []
            for look in (check_root, scan):
                with pytest.raises(UserError) as error:
                    look(root)
                said.append(str(error.value))
            assert said[0] == said[1]

    @pytest.mark.parametrize("change", [{"detector": "drem"}, {"options": {"wdth": 4}}, {"size": (40, 40)}])
    def test_of_recipes(self, change: dict[str, object]) -> None:
        recipe, said = read_recipe("draem", "paper").model_copy(update=change), []
        for check in (check_options, skeleton):
            with pytest.raises(UserError) as error:
                check(recipe)
            said.append(str(error.value))
        assert said[0] == said[1]
