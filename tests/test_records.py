"""TOML to records: what is refused and in which words, inheritance of detectors' records, the records that ship."""

import math
from fractions import Fraction
from pathlib import Path

import pytest

from omnial_bench.attacks.threats import options_of as threat_options
from omnial_bench.config.load import (
    parse,
    planned_recipe,
    read_detector,
    read_plan,
    read_recipe,
    read_suite,
    read_toml,
    record_names,
)
from omnial_bench.config.schema import DetectorRecord, Plan, Suite, Threat
from omnial_bench.errors import UserError
from omnial_bench.models.options.known import OPTIONS, options_of
from omnial_bench.models.registry import skeleton

PLAN = {"name": "p", "title": "t", "dataset": "toy", "categories": ["cap"], "detectors": ["draem"]}
SUITE = {"name": "s", "title": "t", "threats": [{"name": "pgd", "eps": "8/255"}]}
BASE = """
detector = "draem"
title = "Base"
source = "somewhere"
[presets.tiny]
size = [32, 64]
training = { batch = 3 }
options = { width = 4, loc_width = 4 }
[presets.small]
options = { width = 8, panels = false }
"""


def refusal(kind: type, table: dict[str, object]) -> str:
    with pytest.raises(UserError) as caught:
        parse(kind, table, "x.toml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")


def test_every_record_that_ships_can_be_read() -> None:
    assert set(record_names("models")) == {
        *OPTIONS, "draem-panels", "jnld-panels", *(f"omnial-row{number}" for number in range(1, 8)),
    }  # fmt: skip
    for name in record_names("models"):
        assert set(read_detector(name).presets) == {"paper", "small", "tiny"}
    assert [read_suite(name).name for name in record_names("attacks")] == record_names("attacks")
    assert [read_plan(name).name for name in record_names("plans")] == record_names("plans")


def test_an_unknown_key_is_named_before_the_one_that_is_missing() -> None:
    table = {("titel" if key == "title" else key): value for key, value in PLAN.items()}
    assert refusal(Plan, table) == "x.toml: unknown key 'titel'; did you mean 'title'?"
    assert refusal(Plan, {"name": "p"}) == "x.toml: the key 'title' is missing; add it"


def test_an_unknown_key_inside_a_list_is_named_with_its_place() -> None:
    threats = [{"name": "a", "eps": "0"}, {"name": "b", "eps": "0", "step": 3}]
    assert refusal(Suite, {**SUITE, "threats": threats}) == (
        "x.toml: unknown key 'threats.b.step'; did you mean 'threats.b.steps'?"
    )


def test_true_is_no_number() -> None:
    assert refusal(Plan, {**PLAN, "batch": True}) == "x.toml: batch: expected a number, got true"
    assert refusal(Plan, {**PLAN, "size": [64, True]}).startswith("x.toml: size.1: ")
    assert refusal(Suite, {**SUITE, "threats": [{"name": "a", "eps": "0", "steps": True}]}) == (
        "x.toml: threats.a.steps: expected a number, got true"
    )
    recipe = read_recipe("patchcore", "tiny")
    with pytest.raises(UserError, match="options of patchcore: pooled: expected a number, got false"):
        options_of(recipe.model_copy(update={"options": {"pooled": False}}), OPTIONS["patchcore"])
    assert parse(Suite, {**SUITE, "worst": True, "against": "self"}, "x.toml").worst


def test_true_is_no_number_behind_threats_that_stand_for_several() -> None:
    several = {"name": "b", "attack": "blur", "severities": [1, 2]}
    own = [{"name": "a", "attack": "m.sub:A", "eps": "0", "options": {"level": level}} for level in (3, True)]
    own[1]["name"] = "c"
    assert parse(Suite, {**SUITE, "threats": [several, *own]}, "x").threats[3].options == {"level": True}
    late = {"name": "p", "eps": "0", "steps": True}
    assert refusal(Suite, {**SUITE, "threats": [several, late]}) == (
        "x.toml: threats.p.steps: expected a number, got true"
    )
    assert "threat b: severities: expected numbers, got true" in refusal(
        Suite, {**SUITE, "threats": [{**several, "severities": [1, True]}]}
    )


def test_a_suite_made_in_python_is_spread_like_that_of_a_file() -> None:
    made = Suite.model_validate({**SUITE, "threats": [{"name": "b", "attack": "blur", "severities": [1, 2]}]})
    assert [threat.name for threat in made.threats] == ["b-1", "b-2"]


def test_a_mistake_in_a_list_is_told_by_name_and_names_of_files_and_values_stay() -> None:
    threats = [{"name": "b", "attack": "blur", "severities": [1, 2]}, {"name": "p", "eps": "0", "restarts": 0}]
    for some in (threats, threats[1:]):
        assert "x.toml: threats.p.restarts: " in refusal(Suite, {**SUITE, "threats": some})
    assert "x.toml: threats.0.name: " in refusal(Suite, {**SUITE, "threats": [{"name": 3, "eps": "0"}]})
    with pytest.raises(UserError, match=r"^threats\.9\.toml: threats\.p\.eps: expected .*, got 'threats\.7'$"):
        parse(Suite, {**SUITE, "threats": [threats[0], {"name": "p", "eps": "threats.7"}]}, "threats.9.toml")


@pytest.mark.parametrize("threats", [5, True, "pgd"])
def test_threats_that_are_no_list_are_refused(threats: object) -> None:
    assert refusal(Suite, {**SUITE, "threats": threats}) == (
        f"x.toml: threats: Input should be a valid tuple, got {threats!r}"
    )


def test_tables_inside_one_another_without_end_are_refused() -> None:
    deep: object = True
    for _ in range(900):
        deep = {"a": deep}
    assert "expected tables at most 64 deep, got more" in refusal(
        Suite, {**SUITE, "threats": [{"name": "p", "eps": "0", "options": deep}]}
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"severities": 2}, "severities: expected a list of numbers, got 2"),
        ({"severities": ["a"]}, "severities: expected numbers, got 'a'"),
        ({"options": 1}, "options: expected a table, got 1"),
        ({"options": {"severity": 4}}, "options.severity stands beside severities; leave one out"),
    ],
)
def test_what_makes_no_severities_is_refused(more: dict[str, object], message: str) -> None:
    threat = {"name": "b", "attack": "blur", "severities": [1, 2]}
    assert refusal(Suite, {**SUITE, "threats": [{**threat, **more}]}) == f"x.toml: threat b: {message}"


@pytest.mark.parametrize("key", ["severities", "after"])
def test_a_threat_that_would_stand_for_none_is_refused(key: str) -> None:
    threats = [{"name": "b", "attack": "blur", "eps": "1", key: []}, {"name": "p", "eps": "0"}]
    assert refusal(Suite, {**SUITE, "threats": threats}) == (
        f"x.toml: threat b: {key}: expected one or more, got none; leave it out"
    )


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"max_iterations": 16**4500}, "presets.tiny.training.max_iterations: expected a whole number of 64 bits"),
        ({"lr": 1e300}, "presets.tiny.training.lr: Input should be less than or equal to 1"),
        ({"epochs": 1e300}, "presets.tiny.training.epochs: "),
        ({"gamma": -1.0}, "presets.tiny.training.gamma: Input should be greater than or equal to 0"),
        ({"milestones": [-3.0, 7.0]}, "presets.tiny.training.milestones.0: "),
        ({"gamma": 1e20, "milestones": [0.1, 0.2]}, "presets.tiny.training: gamma: expected lr times gamma for each"),
    ],
)
def test_numbers_that_no_training_can_use_are_refused_at_once(training: dict[str, object], message: str) -> None:
    table = {"detector": "d", "title": "D", "source": "here", "presets": {"tiny": {"training": training}}}
    assert f"x.toml: {message}" in refusal(DetectorRecord, table)


def test_a_setting_of_an_attack_is_finite() -> None:
    for attack, name in (("mi", "momentum"), ("pgd", "momentum")):
        threat = Threat(name="t", eps=Fraction(8, 255), attack=attack, options={name: math.inf})
        with pytest.raises(UserError, match=f"options of threat t: {name}: Input should be "):
            threat_options(threat)


@pytest.mark.parametrize(
    ("eps", "norm", "value"),
    [
        ("0", "linf", 0),
        ("8/255", "linf", Fraction(8, 255)),
        (1, "linf", 1),
        (0.5, "l2", Fraction(1, 2)),
        ("5", "l2", 5),
    ],
)
def test_eps_is_an_exact_fraction_and_a_length_may_pass_1(eps: object, norm: str, value: Fraction) -> None:
    threats = [{"name": "pgd", "eps": eps, "norm": norm}]
    assert parse(Suite, {**SUITE, "threats": threats}, "x").threats[0].eps == value


@pytest.mark.parametrize(
    ("eps", "norm", "words"),
    [(eps, "linf", "threats.pgd.eps: expected a size from 0 to 1") for eps in ("8", "-1/255", 1.01, "256/255", "5")]
    + [("7096", "l2", "threats.pgd.eps: expected a size from 0 to 1")]
    + [(eps, "linf", "expected a number or a fraction") for eps in ("1/0", "8:255", "nan", [8, 255], True)],
)
def test_eps_that_is_no_size_is_refused(eps: object, norm: str, words: str) -> None:
    message = refusal(Suite, {**SUITE, "threats": [{"name": "pgd", "eps": eps, "norm": norm}]})
    assert words in message and f"got {eps!r}" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"categories": ["cap", "cap"]}, "categories: expected each once, 'cap' is there 2 times"),
        ({"detectors": ["draem", "draem"]}, "'draem' is there 2 times"),
        ({"paradigms": ["unified", "unified"]}, "'unified' is there 2 times"),
        ({"paradigms": ["united"]}, "paradigms.0"),
        ({"categories": []}, "categories"),
        ({"size": [16, 16]}, "size.0: Input should be greater than or equal to 32, got 16"),
        ({"size": [64]}, "size"),
        ({"seed": -1}, "seed"),
        ({"limit": 1}, "limit"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(change: dict[str, object], words: str) -> None:
    assert words in refusal(Plan, {**PLAN, **change})


@pytest.mark.parametrize("names", [("pgd", "pgd"), ("clean",), ("synthesis",), ("../up",), ("Upper",)])
def test_threats_need_names_of_their_own(names: tuple[str, ...]) -> None:
    refusal(Suite, {**SUITE, "threats": [{"name": name, "eps": "0"} for name in names]})


def test_a_budget_without_end_is_refused(tmp_path: Path) -> None:
    write(tmp_path, endless=BASE.replace("batch = 3", "epochs = inf"))
    with pytest.raises(UserError, match=r"presets\.tiny\.training\.epochs"):
        read_detector(str(tmp_path / "endless.toml"))


@pytest.mark.parametrize(
    ("read", "name", "words"),
    [
        (read_plan, "dmo", "unknown plan 'dmo'; did you mean 'demo'?"),
        (read_suite, "papr", "unknown suite 'papr'; did you mean 'paper'?"),
        (read_detector, "omnal", "unknown detector 'omnal'; did you mean 'omnial'?"),
        (read_detector, "nowhere.toml", "cannot read nowhere.toml: No such file or directory"),
    ],
)
def test_an_unknown_record_names_the_closest(read: object, name: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        read(name)  # type: ignore[operator]
    assert words in str(caught.value)


def test_what_is_no_toml_is_named(tmp_path: Path) -> None:
    write(tmp_path, broken="title = [")
    with pytest.raises(UserError, match=r"broken\.toml is not valid TOML"):
        read_toml(tmp_path / "broken.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"bytes\.toml is not valid TOML"):
        read_toml(tmp_path / "bytes.toml")


def test_a_recipe_is_its_preset_with_what_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, base=BASE)
    path = str(tmp_path / "base.toml")
    recipe = read_recipe(path, "tiny")
    assert (recipe.size, recipe.training.batch, recipe.options) == ((32, 64), 3, {"width": 4, "loc_width": 4})
    plan = Plan(
        name="own", title="Own", dataset="toy", categories=("pill",), detectors=(path,), preset="tiny", size=(96, 32),
        batch=7, max_iterations=9,
    )  # fmt: skip
    other = planned_recipe(plan, path)
    assert (other.size, other.training.batch, other.training.max_iterations) == ((96, 32), 7, 9)
    assert other.options == recipe.options
    assert planned_recipe(plan.model_copy(update={"size": None, "batch": None, "max_iterations": None}), path) == recipe
    with pytest.raises(UserError, match="did you mean 'tiny'"):
        read_recipe(path, "tinny")


def test_options_of_an_heir_lie_over_those_of_every_preset(tmp_path: Path) -> None:
    heir = 'base = "base.toml"\ntitle = "Heir"\n[options]\npanels = true\n'
    write(tmp_path, base=BASE, heir=heir, grandchild='base = "heir.toml"\n[options]\nwidth = 5\n')
    path = str(tmp_path / "heir.toml")
    assert (read_detector(path).title, read_detector(path).source) == ("Heir", "somewhere")
    assert read_recipe(path, "tiny").options == {"width": 4, "loc_width": 4, "panels": True}
    assert read_recipe(path, "small").options == {"width": 8, "panels": True}
    assert read_recipe(path, "tiny").size == (32, 64)
    grandchild = str(tmp_path / "grandchild.toml")
    assert read_detector(grandchild).title == "Heir"
    assert read_recipe(grandchild, "small").options == {"width": 5, "panels": True}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('base = "bse.toml"', "cannot read"),
        ('base = "draam"', "unknown detector 'draam'; did you mean 'draem'?"),
        ('base = "heir.toml"', "leads back"),
        ('base = "base.toml"\noption = { width = 5 }', "unknown key 'option'; did you mean 'options'?"),
        ('base = "base.toml"\noptions = 3', "options"),
        ("base = 3", "base"),
    ],
)
def test_an_heir_with_a_mistake_is_refused(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, base=BASE, heir=text)
    with pytest.raises(UserError) as caught:
        read_detector(str(tmp_path / "heir.toml"))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_base_that_leads_back_through_folders_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the path is written, and by whichever of them one begins with."""
    (tmp_path / "r").mkdir()
    (tmp_path / "s").mkdir()
    write(tmp_path / "r", itself='base = "../r/itself.toml"', a='base = "../s/b.toml"')
    write(tmp_path / "s", b='base = "../r/./a.toml"')
    monkeypatch.chdir(tmp_path / "r")
    for name in ("itself.toml", "a.toml", "../s/b.toml", str(tmp_path / "r/a.toml")):
        with pytest.raises(UserError, match="leads back to this record") as caught:
            read_detector(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["draem", "jnld"])
@pytest.mark.parametrize("preset", ["paper", "small", "tiny"])
def test_panels_are_the_only_difference_of_the_panel_records(name: str, preset: str) -> None:
    plain, panels = read_recipe(name, preset), read_recipe(f"{name}-panels", preset)
    assert panels.options == {**plain.options, "panels": True}
    assert panels.model_copy(update={"options": plain.options}) == plain
    detector = skeleton(panels)
    assert detector.options.panels
    assert not skeleton(plain).options.panels
