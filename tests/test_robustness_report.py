"""The test suites in the report: which rows are whose, what tables hold and what is drawn."""

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from campaigns import WHITE_BOX, campaign, failing, invented_rows, marked, raised, said, sentences, several
from fake_run import ATTACKS, cells, fake_attempts, fake_campaign, fake_health, fake_rows, fake_suites, write_records

from omnial_bench.errors import UserError
from omnial_bench.io.whole import write_json
from omnial_bench.reports import (
    curves,
    example_images,
    extremes,
    families,
    loss_curves,
    matrix,
    opening,
    plots,
    white_box,
)
from omnial_bench.reports.campaign import Campaign, campaign_of
from omnial_bench.reports.conditions import Condition
from omnial_bench.reports.corruptions import corruption_figures, corruption_table, kinds_of, shifted_table
from omnial_bench.reports.document import write_report
from omnial_bench.reports.grid import Grid
from omnial_bench.reports.making import health_table
from omnial_bench.reports.origins import HEALTH, losses_of, read_attempts, read_health
from omnial_bench.reports.style import save
from omnial_bench.reports.suites import split
from omnial_bench.reports.table import DASH, to_latex, to_markdown
from omnial_bench.results import write_rows

CONTROL = Condition("white-box-unattacked", "none", "none")


@pytest.fixture
def rows() -> pd.DataFrame:
    return invented_rows()


@pytest.fixture(scope="module")
def made() -> Campaign:
    return campaign()


def test_rows_go_to_their_suites_with_and_without_the_attacks_record(
    made: Campaign, rows: pd.DataFrame, tmp_path: Path
) -> None:
    fixed, evaluations = split(rows, made.attempts)
    assert set(fixed["set"]) == {"clean", "unattacked", "pgd-4", "pgd-8", "pgd-8-targeted"}
    names = {each.name: [trial.set for trial in each.trials] for each in evaluations}
    assert names["white-box"] == [
        "white-box-any", "white-box-score", "white-box-foreground", "white-box-hide", "white-box-fabricate",
    ]  # fmt: skip
    assert names["curve"] == [f"curve-{eps}" for eps in (1, 2, 4, 8, 16)]
    assert len(names["corruptions"]) == 25 and names["transfer"] == ["transfer-pgd"]
    assert "worst-apgd" in names["worst-case"]
    alone, guessed = split(rows, read_attempts(tmp_path / "nowhere"))
    assert {each.name for each in guessed} == {"white-box", "curve", "corruptions", "transfer", "worst-case"}
    hide = next(trial for each in guessed for trial in each.trials if trial.set == "white-box-hide")
    assert (hide.goal, hide.eps, hide.norm, hide.where) == ("hide", 8 / 255, "linf", "frame")
    # What no record and no name tells is left with the other rows, not lost.
    lost = {f"worst-{name}" for name in ("apgd", "cospgd", "score", "hide", "square")}
    assert set(alone["set"]) - set(fixed["set"]) == lost


def test_a_suite_goes_by_its_title_where_the_run_tells_it(made: Campaign, rows: pd.DataFrame, tmp_path: Path) -> None:
    title = "Six attacks & the worst: 100 % of_them"
    write_json(tmp_path / "environment.json", {"suites": {"worst-case": title, "curve": 7, "elsewhere": "x"}})
    write_records(tmp_path)
    told = campaign_of(tmp_path, rows)
    label = f"worst-case ({title})"
    labels = {suite.name: suite.label for suite in told.evaluations if suite.heading}
    assert labels == {"worst-case": label, "curve": "curve (7)"}
    attacks, before = white_box.attacks_table(told), white_box.attacks_table(made)
    panels = dict.fromkeys(before.frame["panel"])
    assert list(dict.fromkeys(attacks.frame["panel"])) == [
        f"{panel}: {title}" if panel.startswith("worst-case (") else panel for panel in panels
    ]
    assert r"\& the worst: 100 \% of\_them" in to_latex(attacks)
    for one, named in ((told, True), (made, False)):
        tables = white_box.white_box_table(one), opening.opening(one).table
        assert [label in table.caption for table in tables] == [named, named]
    (suite,) = (each for each in loss_curves.loss_suites(told) if each.name == "worst-case")
    assert f"of the suite {label}:" in loss_curves.loss_figure(told, suite).caption


def test_a_run_without_suites_has_no_campaign(tmp_path: Path) -> None:
    rows = fake_rows()
    own = rows[rows["set"] == "pgd-8"].assign(source="self")
    for given in (rows, pd.concat([rows, own], ignore_index=True)):
        assert campaign_of(tmp_path, given).evaluations == ()


def test_a_fixed_set_of_the_same_name_stays_a_fixed_set() -> None:
    fixed = fake_rows().replace({"set": {"pgd-8": "white-box-any"}})
    made = campaign(pd.concat([fixed, fake_suites()], ignore_index=True))
    assert [item.set for item in made.fixed.sets] == ["pgd-4", "white-box-any", "pgd-8-targeted"]
    assert made.goals["any"].conditions == (Condition("white-box-any", "linf 8/255", "self"),)


def test_the_white_box_suite_and_its_common_size(made: Campaign) -> None:
    assert made.white_box is not None and made.white_box.name == "white-box" and made.size == "8/255"
    assert {goal: trial.set for goal, trial in made.goals.items()} == {
        "any": "white-box-any", "hide": "white-box-hide", "fabricate": "white-box-fabricate",
    }  # fmt: skip
    assert made.fixed_set is not None and made.fixed_set.set == "pgd-8"
    assert made.worst is not None and made.worst.worst == Condition("worst-case-worst", "worst of 5", "self")
    assert [made.attacked(trial) for trial in made.goals.values()] == [64, 32, 32]


def test_a_suite_that_aims_at_no_harm_to_all_does_not_open_a_report(made: Campaign) -> None:
    """Such as `minimal`, which has more goals than `curve`, and `worst-case` where there is no `white-box`."""
    suites = {each.name: each for each in made.evaluations}
    suites["minimal"] = replace(
        suites.pop("white-box"),
        name="minimal",
        trials=tuple(trial for trial in made.goals.values() if trial.goal != "any"),
    )
    for names, opens in ((("curve", "minimal"), "curve"), (("curve", "minimal", "worst-case"), "worst-case")):
        one = replace(made, evaluations=tuple(suites[name] for name in names))
        assert one.white_box is not None and one.white_box.name == opens


def test_white_box_table_holds_values_falls_and_the_worst(made: Campaign, rows: pd.DataFrame) -> None:
    table = white_box.white_box_table(made)
    mine = (rows["category"] == "mean") & (rows["metric"] == "pixel_auroc") & (rows["detector"] == "jnld")
    values = rows[mine & (rows["paradigm"] == "separate")].set_index(["set", "source"])["value"]
    record = table.frame[(table.frame["metric"] == "pixel_auroc") & (table.frame["detector"] == "jnld")].iloc[1]
    attacked = values["white-box-any", "self"]
    assert record["any"] == attacked and record["worst"] == values["worst-case-worst", "self"]
    fall = attacked - values["white-box-unattacked", "none"]
    fixed = values["pgd-8", "draem-unified+jnld-unified+omnial-unified"] - values["unattacked", "none"]
    found = record[["fall_white_box", "fall_fixed", "overstated"]].tolist()
    assert found == pytest.approx([fall, fixed, fall - fixed])
    assert "different images" in table.caption and "one seed (0)" in table.caption and "64 images" in table.caption
    assert "mean loss over DRAEM unified, JNLD unified and OmniAL unified" in table.caption


def test_a_failed_check_is_marked_at_its_number_and_named_below() -> None:
    made = campaign(health=failing(("huge eps breaks", "omnial-unified", "worst-case-worst")))
    table = white_box.white_box_table(made)
    letters = {(str(table.frame.loc[row, "model"]), key, text) for (row, key), text in table.letters.items()}
    # What a huge ball does not break is doubted in every column, other checks in the column of their set.
    every = {("OmniAL unified", key, "b") for key in ("any", "any_score", "hide", "fabricate", "worst")}
    assert letters == {("JNLD separate", "any", "a"), ("DRAEM unified", "any", "c")} | every
    note = "Check failed: PGD beats noise (figure : reference). JNLD separate (0.521\u00a0:\u00a00.430)."
    assert table.notes[0] == ("a", note)
    for text, letter in ((to_markdown(table), "<sup>a</sup>"), (to_latex(table), r"\textsuperscript{a}")):
        assert "Check failed: PGD beats noise" in text and letter in text
    shown = health_table(made)
    assert "61 of 64 checks passed and 3 failed" in shown.caption and "2 were not run" in shown.caption
    every_cell = [cell for line in cells(shown) for cell in line]
    assert (every_cell.count("failed"), every_cell.count("not run")) == (3, 2)
    assert shown.notes[0][1] == "JNLD separate: pixel AUROC 0.521 under white-box-any, 0.430 under health-other."


def test_checks_by_category_are_counted_and_say_where() -> None:
    health = pd.concat([fake_health().assign(category=name) for name in ("bottle", "grid")], ignore_index=True)
    spared = (health["check"] == "PGD beats noise") & (health["category"] == "bottle")
    health.loc[spared, "status"] = "passed"
    made = campaign(health=health)
    shown, table = health_table(made), white_box.white_box_table(made)
    assert "failed 1/2" in [cell for line in cells(shown) for cell in line]
    assert "and one category" in shown.caption
    assert any("JNLD separate (grid 0.521" in note for _, note in table.notes)


def test_an_attack_that_goes_on_from_a_curves_own_is_no_curve_beside_it(made: Campaign) -> None:
    [(name, suite, curve)] = curves.curves(made)
    second = [replace(trial, set=f"{trial.set}-on", objective="pooled") for trial in suite.trials]
    assert len(replace(suite, trials=(*suite.trials, *second)).curves) == 2
    going_on = [replace(trial, options=f"decay = true, start = {trial.set[:-3]}") for trial in second]
    both = replace(suite, trials=(*suite.trials, *going_on))
    assert both.curves == suite.curves
    caption = curves.curve_table(made, name, both, curve).caption
    assert "or pooled in 20 steps more, whichever harms an image most" in caption


def test_an_attack_that_goes_on_from_another_is_not_the_one_of_its_goal(made: Campaign) -> None:
    """Of more steps, but its harm is counted in the figure of the one that it begins with."""
    suite = made.white_box
    first = suite.aimed("8/255")["any"]
    longer = replace(first, set="white-box-on", steps=first.steps + 1)
    going_on = replace(longer, options=f"start = {first.set}")
    for trial, wanted in ((longer, longer), (going_on, first)):
        assert replace(suite, trials=(*suite.trials, trial)).aimed("8/255")["any"] == wanted


def test_curves_begin_with_the_control_and_draw_chance(made: Campaign) -> None:
    [(name, suite, curve)] = curves.curves(made)
    drawing = curves.curve_figure(made, name, suite, curve)
    assert name == "curve_curve"
    upper, ap = drawing.figure.axes[:2]
    model = made.values.models[0]
    lines = [line for line in upper.lines if line.get_linestyle() != "None"][1:]
    assert len(lines) == len(made.values.models)
    assert list(lines[0].get_xdata()) == pytest.approx([0, 1, 2, 4, 8, 16])
    wanted = [
        100 * made.values.get(model, each, "pixel_auroc") for each in (suite.control, *(trial.own for trial in curve))
    ]
    assert list(lines[0].get_ydata()) == pytest.approx(wanted)
    level = [line.get_ydata()[0] for line in (upper.lines[0], ap.lines[0])]
    assert level == pytest.approx([50.0, 3.4])
    table = curves.curve_table(made, name, suite, curve)
    assert cells(table)[0] == ["DRAEM unified", *(f"{value:.1f}" for value in wanted)]


def test_a_model_without_figures_leaves_the_figures_of_the_others_whole(rows: pd.DataFrame, tmp_path: Path) -> None:
    made = campaign(rows.assign(value=rows["value"].where(rows["detector"] != "jnld")))
    [(name, suite, curve)], [(other, trial)] = curves.curves(made), made.transfers
    drawn = curves.curve_figure(made, name, suite, curve)
    for drawing in (drawn, plots.goals_figure(made), matrix.transfer_figure(made, other, trial)):
        save(drawing, tmp_path)
    shown = [line.get_color() for line in drawn.figure.axes[0].lines if line.get_linestyle() != "None"]
    assert len(shown) == 5 and "#E69F00" not in shown


def test_without_its_rows_or_images_a_figure_is_left_out(made: Campaign, rows: pd.DataFrame, tmp_path: Path) -> None:
    """Two sizes are no curve."""
    few = campaign(rows[~rows["set"].isin(["curve-1", "curve-2", "curve-16", "white-box-hide"])])
    assert curves.curves(few) == [] and plots.goals_figure(few) is None
    assert extremes.extremes(example_images.Examples(tmp_path / "examples"), made) == []


def test_matrix_has_sources_in_rows_and_self_on_the_diagonal(made: Campaign) -> None:
    [(suite, trial)] = made.transfers
    drawing = matrix.transfer_figure(made, suite, trial)
    shown = np.asarray(drawing.figure.axes[0].collections[0].get_array())
    names = [model.name for model in made.values.models]
    assert shown.shape == (7, 6)
    for (i, source), (j, model) in product(enumerate(names), enumerate(made.values.models)):
        condition = Condition("transfer-pgd", "linf 8/255", "self" if source == model.name else source)
        assert shown[i + 1, j] == pytest.approx(100 * made.values.get(model, condition, "pixel_auroc"))
    table = matrix.transfer_table(made, suite, trial)
    assert {(row - 1, names.index(key)) for row, key in table.strong if row < 7} == {(i, i) for i in range(6)}
    assert cells(table)[0][0] == "before any attack" and cells(table)[-1][:2] == ["chance level", "3.4"]


def test_hide_and_fabricate_stand_side_by_side(made: Campaign) -> None:
    drawing = plots.goals_figure(made)
    marks = [line for line in drawing.figure.axes[0].lines if line.get_marker() == "v"]
    wanted = [100 * made.values.get(model, made.goals["hide"].own, "image_auroc") for model in made.values.models]
    assert [float(np.nanmax(line.get_xdata())) for line in marks] == pytest.approx(wanted)


def test_losses_are_means_over_categories_and_squares_are_left_out() -> None:
    attempts = fake_attempts()
    mine = (attempts["set"] == "white-box-any") & (attempts["detector"] == "draem")
    for category, losses in (("bottle", "1.0 2.0 4.0"), ("grid", "2.0 4.0 5.0")):
        attempts.loc[mine & (attempts["category"] == category), "losses"] = losses
    made = campaign(attacks=attempts)
    first, second = loss_curves.loss_suites(made)
    drawing = loss_curves.loss_figure(made, first)
    assert first.name == "white-box"
    assert list(drawing.figure.axes[0].lines[0].get_ydata()) == [1.5, 3.0, 4.5]
    titles = [axes.get_title() for axes in drawing.figure.axes]
    assert [title for title in titles if "descends" in title] == ["8/255 hide (descends)", "8/255 fabricate (descends)"]
    other = loss_curves.loss_figure(made, second)
    titles = [axes.get_title() for axes in other.figure.axes]
    assert titles == ["8/255\nPGD", "8/255\nAPGD, balanced", "8/255\nAPGD, image score", "8/255 hide (descends)"]


def test_every_attack_of_a_suite_and_the_lowest_in_bold(made: Campaign) -> None:
    table = white_box.attacks_table(made)
    assert [panel for panel, _, _ in table.lines() if panel] == ["white-box (64 images)", "worst-case (64 images)"]
    assert {name for name, _ in marked(table, "set", strong=True)} == {"white-box-any", "worst-apgd"}


def test_corruptions_by_severity(made: Campaign, rows: pd.DataFrame) -> None:
    table = corruption_table(made)
    assert list(dict.fromkeys(table.frame["panel"])) == ["blur", "brightness", "contrast", "gaussian noise", "jpeg"]
    control, blurred = (
        Condition("corruptions-unattacked", "none", "none"),
        Condition("blur-3", "blur severity 3", "self"),
    )
    for key, condition in (("pixel_auroc_0", control), ("pixel_auroc_3", blurred)):
        assert table.frame.iloc[0][key] == made.values.get(made.values.models[0], condition, "pixel_auroc")
    assert len(table.columns) == 13
    alarms = rows[rows["metric"] == "image_auroc"].assign(metric="image_false_alarms")
    made = campaign(pd.concat([rows, alarms.assign(value=1 - alarms["value"])], ignore_index=True))
    assert corruption_table(made, "_threshold").name == "corruptions_threshold"
    assert "and jpeg adds most false alarms (+" in said(made, "kinds of common corruption")


def test_what_is_attacked_after_a_corruption_stands_beside_what_is_not(rows: pd.DataFrame) -> None:
    """And apart from it: the first tables are of the test images as they are."""
    names = {
        "white-box-unattacked": ("day-unattacked", "none"), "white-box-any": ("alone", "linf 8/255"),
        "blur-3": ("day-blur-3", "blur severity 3"), "curve-16": ("pgd-day-blur-3", "linf 8/255 after day-blur-3"),
    }  # fmt: skip
    attempts = fake_attempts()
    copies = [rows[rows["set"] == old].assign(set=new, threat=threat) for old, (new, threat) in names.items()]
    copies[-1]["eps"] = "8/255"
    alike = attempts[attempts["set"] == "white-box-any"]
    told = [alike.assign(suite="day", set=names[old][0]) for old in list(names)[1:]]
    told[1] = told[1].assign(attack="blur", eps="255/255")
    made = campaign(pd.concat([rows, *copies], ignore_index=True), attacks=pd.concat([attempts, *told]))
    assert made.white_box.name == "white-box" and [trial.set for trial in made.shifted.own] == ["alone"]
    table, model = shifted_table(made), made.values.models[0]
    assert list(dict.fromkeys(table.frame["panel"])) == ["blur severity 3"]
    for key, name in zip(("before", "attacked", "corrupted", "both"), names, strict=True):
        condition = next(each for each in made.values.conditions if each.set == name)
        assert table.frame.iloc[0][f"pixel_auroc_{key}"] == made.values.get(model, condition, "pixel_auroc")
    assert "pixel AUROC after blur severity 3" in said(made, "On top of a corruption")
    drawing = corruption_figures(made)[1]
    assert drawing.name == "corruptions_pixel_auroc"
    assert [axes.get_title() for axes in drawing.figure.axes if axes.get_title()] == list(kinds_of(made.corruptions))
    assert said(made, "kinds of common corruption").startswith(
        "Of 5 kinds of common corruption, in the mean over their severities, jpeg costs most"
    )


def test_strongest_and_weakest_stand_in_one_row(
    made: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = example_images.Examples(fake_campaign(tmp_path, size=(32, 40)) / "examples")
    shown: list[list[np.ndarray]] = []
    start, show = Grid.__init__, Grid.show
    monkeypatch.setattr(Grid, "__init__", lambda *given, **named: (shown.append([]), start(*given, **named))[1])
    monkeypatch.setattr(Grid, "show", lambda *given, **how: (shown[-1].append(given[3]), show(*given, **how))[1])
    drawings = extremes.extremes(examples, made)
    assert [drawing.name for drawing in drawings] == [
        f"images_extremes_white-box-{goal}_{paradigm}"
        for goal, paradigm in product(("any", "hide", "fabricate"), ("unified", "separate"))
    ]
    assert "\u00d7 15" in drawings[0].caption
    assert len(shown[0]) == 6 * 8 and not any(cell is None for cell in shown[0])
    rows = examples.rows(set="white-box-any", model="draem-separate-grid", note="weakest")
    after, before = (examples.image(rows, role).astype(int) for role in ("input", "original"))
    wanted = np.clip(128 + 15 * (after - before), 0, 255)
    assert any(np.array_equal(image, wanted) for image in shown[1])


@pytest.mark.parametrize("told", [True, False], ids=["aim in the rows", "aim not told"])
def test_bold_is_a_bound(rows: pd.DataFrame, told: bool) -> None:
    made = campaign(rows if told else rows.assign(aim=""))
    pixels = set(product(("pixel_auroc", "pixel_ap"), ("any", "hide", "fabricate", "worst")))
    bold = marked(white_box.white_box_table(made), "metric", strong=True)
    assert bold == pixels | {("image_auroc", "any_score"), ("image_auroc", "worst")}
    objectives = {name: objective for _, name, _, _, objective, *_ in ATTACKS}
    shown = {objectives[name] for name, _ in marked(white_box.attacks_table(made), "set", strong=True)}
    assert shown and "image_score" not in shown
    first = white_box.opening_table(made)
    image = first.frame[first.frame["metric"] == "image_auroc"]
    # Attacks on pixels bound no ranking of images, so that their figures are left out.
    assert image[["hide", "fabricate"]].isna().all(axis=None)
    for key, condition in (("any", made.against("image_auroc")), ("unattacked", made.white_box.control)):
        assert image.iloc[0][key] == made.values.get(made.values.models[0], condition, "image_auroc")
    [(moved, trial)] = made.transfers
    assert matrix.transfer_table(made, moved, trial).strong


def test_an_attack_on_the_score_makes_no_pixel_figure_bold(rows: pd.DataFrame) -> None:
    rows.loc[rows["set"].isin(["transfer-pgd", "white-box-any"]) & (rows["source"] == "self"), "aim"] = "image"
    made = campaign(rows)
    [(moved, trial)] = made.transfers
    assert not matrix.transfer_table(made, moved, trial).strong
    bold = marked(white_box.white_box_table(made), "metric", strong=True)
    assert not bold & {("pixel_auroc", "any"), ("pixel_ap", "any")}


def test_seeds_give_means_with_spread(made: Campaign) -> None:
    assert "±" not in to_markdown(white_box.white_box_table(made))
    seeds = (0, 1, 2)
    rows = several(seeds)
    made = campaign(rows, attacks=fake_attempts(seeds=seeds))
    table = white_box.white_box_table(made)
    assert "3 seeds (0, 1, 2)" in table.caption and "±: one standard deviation" in table.caption
    fits = (rows["set"] == "white-box-any") & (rows["metric"] == "pixel_auroc") & (rows["category"] == "mean")
    mine = rows[fits & (rows["detector"] == "omnial") & (rows["paradigm"] == "separate")]["value"]
    row = table.frame[(table.frame["metric"] == "pixel_auroc") & (table.frame["model"] == "OmniAL separate")].iloc[0]
    assert row["any"] == pytest.approx(mine.mean()) and row["any_sd"] == pytest.approx(mine.std(ddof=1))
    assert f"{100 * mine.mean():.1f} ± {100 * mine.std(ddof=1):.1f}" in cells(table)[int(str(row.name))]
    # Every seed is shifted alike before and after the attack, so the fall has no spread.
    assert row["fall_white_box_sd"] == pytest.approx(0, abs=1e-12)
    [(name, suite, curve)] = curves.curves(made)
    drawing = curves.curve_figure(made, name, suite, curve)
    assert len(drawing.figure.axes[0].collections) == len(made.values.models)
    assert r"$\pm$" in to_latex(table)


def test_undefined_figures_are_dashes_and_no_findings(rows: pd.DataFrame) -> None:
    made = campaign(raised(rows, math.nan, "pixel_auroc", set="white-box-any"))
    assert DASH in [cell for line in cells(white_box.white_box_table(made)) for cell in line]
    assert not any("fixed set" in sentence for sentence in sentences(made))
    assert "pixel AUROC" not in said(made, WHITE_BOX)


def test_images_are_ranked_by_an_attack_on_their_score(made: Campaign, rows: pd.DataFrame) -> None:
    metric, model = "image_auroc", made.values.models[0]
    aimed = made.against(metric)
    assert aimed.set == "white-box-score" and made.against("pixel_ap") == made.goals["any"].own
    table = white_box.white_box_table(made)
    assert "it alone bounds image AUROC" in table.caption
    record = table.frame[table.frame["metric"] == metric].iloc[0]
    assert record["any_score"] == made.values.get(model, aimed, metric)
    assert record["fall_white_box"] == record["any_score"] - made.values.get(model, CONTROL, metric)
    # Without such an attack nothing is said of how well images are still ranked.
    without = campaign(rows[rows["set"] != "white-box-score"])
    table = white_box.white_box_table(without)
    assert "nothing here bounds image AUROC" in table.caption
    assert math.isnan(table.frame[table.frame["metric"] == metric].iloc[0]["fall_white_box"])
    assert "image AUROC" not in said(without, WHITE_BOX)


def test_what_another_suite_prints_too_high_leaves_the_figures_of_this_one() -> None:
    """The diagonal of the transfer matrix is a figure of its own, of the same objective as white-box-any."""
    health = failing(("loss rises", "omnial-unified", "transfer-pgd"), alone=True)
    for check, doubted in (("nothing else harms more", False), ("larger eps never helps", False), ("loss rises", True)):
        made = campaign(health=health.replace({"check": {"loss rises": check}}))
        assert bool(white_box.white_box_table(made).letters) is doubted


def test_a_doubt_stands_beside_every_figure_of_its_set() -> None:
    made = campaign(
        health=failing(
            ("larger eps never helps", "omnial-unified", "curve-8"),
            ("white-box beats transfer", "omnial-unified", "transfer-pgd"),
        )
    )
    [(name, suite, curve)], [(moved, trial)] = curves.curves(made), made.transfers
    for table, wanted in (
        (curves.curve_table(made, name, suite, curve), {("OmniAL unified", "eps_8")}),
        (matrix.transfer_table(made, moved, trial), {("OmniAL unified", "omnial-unified")}),
        (
            white_box.attacks_table(made),
            # That a model's own attack takes less than another's casts doubt on its figure for any harm.
            {("PGD, 8/255", name) for name in ("jnld-separate", "draem-unified", "omnial-unified")},
        ),
    ):
        assert marked(table, table.columns[0].key) == wanted
        shown = {letter for letters in table.letters.values() for letter in letters.split(",")}
        assert {letter for letter, _ in table.notes} == shown


def test_an_attack_that_had_not_settled_puts_its_kind_in_doubt_up_to_its_length() -> None:
    attempts = fake_attempts()
    steps = {"white-box-any": 10, "white-box-hide": 10, "white-box-fabricate": 20, "white-box-score": 5}
    attempts["steps"] = attempts["set"].map(steps).fillna(30)
    health = failing(("more steps change little", "omnial-unified", "white-box-any"), alone=True)
    table = white_box.white_box_table(campaign(attacks=attempts, health=health))
    assert marked(table) == {("OmniAL unified", key) for key in ("any", "any_score", "hide")}


@pytest.mark.parametrize(("name", "columns"), [("worst-score", {"any_score"}), ("worst-pgd", {"any"})])
def test_a_check_casts_doubt_on_the_figure_of_its_objective_alone(name: str, columns: set[str]) -> None:
    attempts = fake_attempts()
    own = attempts[attempts["set"] == "white-box-any"].assign(set=name)
    own = own.assign(objective="image_score") if name == "worst-score" else own
    health = failing(("loss rises", "draem-unified", name), alone=True)
    table = white_box.white_box_table(campaign(attacks=pd.concat([attempts, own]), health=health))
    assert {key for _, key in table.letters} == columns


def test_options_of_an_attack_stand_beside_its_name() -> None:
    attempts = fake_attempts()
    attempts["options"] = (attempts["set"] == "white-box-any").map({True: "decay", False: ""})
    table = white_box.attacks_table(campaign(attacks=attempts))
    names = list(table.frame.loc[table.frame["set"].isin(["white-box-any", "white-box-hide"]), "attack"])
    assert names == ["PGD (decay), 8/255", "PGD, 8/255 hide"]


def test_a_mean_that_leaves_a_category_out_says_so(made: Campaign, rows: pd.DataFrame) -> None:
    gap = (rows["set"] == "white-box-any") & (rows["metric"] == "pixel_auroc") & (rows["category"] == "grid")
    partly = white_box.white_box_table(campaign(rows.assign(value=rows["value"].mask(gap))))
    assert "of those alone where" not in white_box.white_box_table(made).caption
    assert "of those alone where the figure is defined" in partly.caption


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("attacks.csv", "suite,set\n", "lacks the column 'detector'"),
        ("attacks.csv", "", "cannot read"),
        ("attacks.csv", fake_attempts().head(2).assign(eps="8/0").to_csv(index=False), "expected an eps such as 8/255"),
        ("health.csv", f"{','.join(HEALTH)}\nx,d,u,m,s,,,fine,\n", "'fine'"),
        ("health.csv", f"{','.join(HEALTH)}\nx,d,u,m,s,a,,passed,\n", "figure"),
    ],
    ids=lambda value: value.partition("\n")[0][:20],
)
def test_records_that_are_broken(tmp_path: Path, name: str, text: str, error: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=error):
        read_attempts(tmp_path) if name == "attacks.csv" else read_health(tmp_path)


def test_losses_are_numbers() -> None:
    assert losses_of("1.0 2") == [1.0, 2.0] and losses_of("") == []
    with pytest.raises(UserError, match="losses as numbers"):
        losses_of("1.0 two")


def test_a_seed_of_its_own_keeps_its_attempts(tmp_path: Path) -> None:
    write_records(tmp_path, attacks=fake_attempts(seeds=(0, 1)))
    assert set(read_attempts(tmp_path, seed=1)["seed"]) == {1.0}
    assert read_attempts(tmp_path).iloc[0]["size"] == pytest.approx(8 / 255)


def test_the_report_leads_with_what_was_learnt_and_holds_every_part(rows: pd.DataFrame, tmp_path: Path) -> None:
    write_rows(tmp_path / "results.csv", rows)
    write_records(tmp_path)
    told: list[str] = []
    write_report(tmp_path, tell=told.append)
    text, html = ((tmp_path / f"report.{name}").read_text(encoding="utf-8") for name in ("md", "html"))
    first = [line for line in text.splitlines() if line][2]
    assert first.startswith("**What was found.** Under white-box attack at 8/255")
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles[3:9] == [
        "White-box attacks", "Robustness against size", "Attack by attack", "Transfer between models",
        "Common corruptions", "Health of the attacks",
    ]  # fmt: skip
    assert "Fixed sets" in titles and "none noted in examples/index.csv" in text
    assert any("none noted in examples/index.csv" in line for line in told)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
    for name in ("white_box", "curve_curve", "white_box_attacks", "transfer_transfer-pgd", "corruptions", "health"):
        assert {path.suffix for path in (tmp_path / "tables").glob(f"{name}.*")} == {".csv", ".tex"}
    for name in ("goals", "curve_curve", "losses_white-box", "transfer_transfer-pgd"):
        assert (tmp_path / "figures" / f"{name}.svg").is_file() and f"figures/{name}.png" in text
    assert "What was found" in html and "<sup>a</sup> Check failed" in html
    # The table of the fixed sets stays with the clean test and the fixed sets.
    assert "| Model | Clean test, n = 161 | Control, n = 80 | 4/255, n = 80: value |" in text


def of_families() -> pd.DataFrame:
    """The invented rows, as if two of their detectors were of other families."""
    rows = invented_rows()
    for old, new in (("jnld", "padim"), ("omnial", "patchcore")):
        rows["detector"] = rows["detector"].replace(old, new)
        rows["source"] = rows["source"].str.replace(f"{old}-", f"{new}-")
    met = (rows["source"] == "padim-unified") & (rows["detector"] == "patchcore") & (rows["metric"] == "pixel_auroc")
    rows.loc[met, "value"] += 0.1
    return rows


def test_families_are_told_apart_and_what_carries_over_between_them() -> None:
    made = campaign(of_families())
    values, [(suite, trial)] = made.values, made.transfers
    groups = families.families(values)
    assert {name: {model.detector for model in models} for name, models in groups.items()} == {
        "density": {"padim"}, "memory": {"patchcore"}, "reconstruction": {"draem"},
    }  # fmt: skip
    table = families.family_table(made, suite, trial)
    assert table is not None
    frame = table.frame.set_index("title").rename(columns=lambda key: key.removeprefix("on_"))
    for source, target in product(groups, repeat=2):
        pairs = [
            values.get(model, matrix.figure_of(trial, other.name, model), "pixel_auroc")
            for other, model in product(groups[source], groups[target])
            if other.detector != model.detector
        ]
        assert frame.loc[source, target] == pytest.approx(np.mean(pairs) if pairs else math.nan, nan_ok=True)
    before = [values.get(model, suite.control, "pixel_auroc") for model in groups["memory"]]
    assert frame.loc["before any attack", "memory"] == pytest.approx(np.mean(before))
    taken = {
        (a, b): frame.loc["before any attack", b] - frame.loc[a, b] for a, b in product(groups, repeat=2) if a != b
    }
    most, least = max(taken, key=taken.__getitem__), min(taken, key=taken.__getitem__)
    text = said(made, "From one family")
    assert f"most from {most[1]} where they were made on {most[0]} ({100 * taken[most]:.1f} points" in text
    assert f"{100 * frame.loc[most]:.1f}\u00a0% left" in text
    assert f"least from {least[1]} where they were made on {least[0]} ({100 * taken[least]:.1f} points" in text
    own = made.goals["any"].own
    left = [values.get(model, own, "pixel_auroc") for model in groups["memory"]]
    assert f"{100 * min(left):.1f} to {100 * max(left):.1f}" in said(made, "By family").partition("memory")[2]


def test_a_family_that_the_run_names_comes_before_that_of_a_record_here(tmp_path: Path) -> None:
    write_records(tmp_path)
    write_json(tmp_path / "environment.json", {"families": {"jnld": "thicket", "nobody": "memory"}})
    groups = families.families(campaign_of(tmp_path, invented_rows()).values)
    assert {name: {model.detector for model in models} for name, models in groups.items()} == {
        "reconstruction": {"draem", "omnial"}, "thicket": {"jnld"},
    }  # fmt: skip


def test_a_family_may_be_called_anything_and_a_run_may_say_that_there_is_none(tmp_path: Path) -> None:
    write_records(tmp_path)
    write_json(tmp_path / "environment.json", {"families": {"jnld": "title", "draem": "panel", "omnial": ""}})
    made = campaign_of(tmp_path, invented_rows())
    assert made.values.families == {"jnld": "title", "draem": "panel", "omnial": ""}
    [(suite, trial)] = made.transfers
    table = families.family_table(made, suite, trial)
    assert table is not None
    assert list(table.frame["title"]) == ["before any attack", "panel", "title"]
    assert [column.heading for column in table.columns] == ["Source", "panel", "title"]


def test_of_one_family_nothing_is_compared() -> None:
    made = campaign()
    assert families.families(made.values) == {}
    assert not [sentence for sentence in sentences(made) if "family" in sentence]
    [(suite, trial)] = made.transfers
    assert families.family_table(made, suite, trial) is None
