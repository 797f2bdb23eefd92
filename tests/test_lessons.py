"""What a report concludes: every word follows the rows, and what is doubted, tied or undefined is said to be so."""

import math
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from campaigns import (
    WHITE_BOX,
    campaign,
    compared,
    failing,
    invented_rows,
    marked,
    raised,
    said,
    sentences,
    several,
    unlearnt,
)
from fake_run import DETECTORS, PARADIGMS, cells, fake_attempts, fake_differences, fake_health, fake_rows, fake_suites

from omnial_bench.errors import UserError
from omnial_bench.io.whole import write_text
from omnial_bench.reports import findings, lessons, opening, plots, white_box
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition
from omnial_bench.reports.document import write_report
from omnial_bench.reports.headline import pairs_table
from omnial_bench.reports.making import health_table
from omnial_bench.reports.origins import unlearnt_of
from omnial_bench.reports.suites import Evaluation, Trial
from omnial_bench.reports.table import to_latex, to_markdown
from omnial_bench.reports.values import Values
from omnial_bench.reports.wording import smallest_words, threshold_words
from omnial_bench.results import read_differences, write_rows


@pytest.fixture
def rows() -> pd.DataFrame:
    return invented_rows()


@pytest.fixture(scope="module")
def made() -> Campaign:
    return campaign()


def test_what_was_learnt_follows_the_rows(made: Campaign) -> None:
    for begins, *parts in (
        (
            WHITE_BOX, "most pixel AUROC is kept by OmniAL separate (91.5\u00a0→\u00a042.0\u00a0%)",
            "least by DRAEM unified (83.5\u00a0→\u00a08.5\u00a0%, in doubt)", "64 images, one seed (0)",
            ", in doubt is JNLD separate (87.5\u00a0→\u00a029.0\u00a0%), all 6 models",
            "all 6 models at or below chance (50\u00a0%); most image AUROC, its score attacked, is kept by",
        ),
        ("growing eps", "from 4/255 on for DRAEM unified"),
        ("under the fixed set pgd-8 → white-box", "DRAEM unified \u221237.2\u00a0→\u00a0\u221275.0"),
        (
            "overstates", "pgd-8 overstates the robustness of 6 of 6", "most that of DRAEM separate (transfer): ",
        ),
        (
            "By goal", "missed defects (hide) cost more pixel AUROC for 6 of 6 models and false alarms (fabricate) for "
            "0",
        ),
        ("worst of 5", "worst of 5 attacks leaves between 0.5\u00a0% (DRAEM unified)", "pixel AUROC and between"),
        ("any other source", "6 of 6 models"),
        ("health checks", "2 of 64 health checks failed"),
    ):  # fmt: skip
        sentence = said(made, begins)
        assert [part for part in parts if part not in sentence] == []


@pytest.mark.parametrize("source", ["omnial-separate", "omnial-separate-grid", "elsewhere-unified"])
def test_transfer_leaves_out_what_was_made_on_the_model_itself(rows: pd.DataFrame, source: str) -> None:
    moved = rows["set"] == "transfer-pgd"
    extra = rows[moved & (rows["source"] == "draem-unified") & (rows["detector"] == "omnial")]
    extra = raised(extra.assign(source=source, aim=""), 0.02, "pixel_auroc")
    made = campaign(pd.concat([rows[~(moved & (rows["source"] == source))], extra], ignore_index=True))
    sentence = said(made, "any other source")
    # OmniAL unified met images of another model that take it lower; OmniAL separate met its own, where it is named.
    assert "OmniAL unified" in sentence
    assert ("OmniAL separate" in sentence) == (source == "elsewhere-unified")


def test_smallest_changes_of_two_searches_are_told_apart() -> None:
    attempts = fake_attempts()
    fits = (attempts["goal"] == "hide") & (attempts["category"] == "bottle")
    one = attempts[fits].drop_duplicates(["detector", "paradigm"]).assign(attack="minimal", suite="minimal")
    near, far = (
        one.assign(set=f"minimal-{eps}", eps=f"{eps}/255", sizes=sizes)
        for eps, sizes in ((1, "0.5 inf inf"), (16, "0.5 4 inf"))
    )
    alone, both = (
        smallest_words(campaign(attacks=pd.concat([attempts.assign(sizes=""), *found])))
        for found in ([far], [near, far])
    )
    assert "to hide a defect 4 (0.5 to over 16) for DRAEM unified" in alone
    assert "to hide a defect (minimal-1) over 1 (0.5 to over 1) for DRAEM unified" in both
    assert "to hide a defect (minimal-16) 4 (0.5 to over 16) for DRAEM unified" in both


def test_each_search_for_the_smallest_change_has_a_curve_of_its_own() -> None:
    def trial(name: str, level: int, objective: str = "") -> Trial:
        own = Condition(name, f"linf {level}/255 hide", "self", "minimal", "linf", level / 255, "hide")
        steps = 40 if objective else 0
        return Trial(name, (own,), "minimal", objective, "hide", "linf", level / 255, "frame", steps, 1)

    searches = [trial(f"minimal-{name}-{level}", level) for name in ("near", "far") for level in (1, 2, 4)]
    stopped = [trial(f"minimal-to-{level}", level, "image_score") for level in (1, 2, 4)]
    found = Evaluation("minimal", None, (*searches, *stopped), None).curves
    assert [[each.set for each in curve] for curve in found] == [
        [f"minimal-{name}-{level}" for level in (1, 2, 4)] for name in ("near", "far")
    ]


def test_nothing_is_concluded_on_a_model_that_has_not_learnt() -> None:
    made = compared(0.2, health=unlearnt(("omnial", "separate", "grid"), ("draem", "unified", "mean")))
    first, whole, pairs = opening.opening(made), white_box.white_box_table(made), pairs_table(made)
    assert first.finding[-1] == (
        "DRAEM unified and OmniAL separate (grid) have not learnt, by the health check of that name: nothing is "
        "concluded on them."
    )
    told = [
        *first.finding[:1],
        *first.sure,
        *lessons.lessons(made),
        *findings.findings(made.fixed),
        *pairs.frame["model"],
    ]
    concluded = [line for line in told if "Below 75" not in line and "not carry over" not in line]
    # Beside the checks that failed, no sentence names either, and no pair.
    assert not [line for line in concluded if "DRAEM unified" in line or "OmniAL separate" in line]
    assert "all 4 models at or below chance" in first.finding[0] and "of 4 models" in said(made, "overstates")
    assert "4 of 71 health checks failed" in said(made, "health checks")
    for table in (first.table, whole):
        names = {model for model, _ in marked(table, strong=True)}
        assert names and not names & {"DRAEM unified", "OmniAL separate"}
        assert any("Check failed: has learnt" in text for _, text in table.notes)
    assert "OmniAL separate (grid) have not learnt" in pairs.caption
    assert "has learnt" in list(health_table(made).frame["check"])


@pytest.mark.parametrize(
    ("category", "note", "where"),
    [
        ("all", "SSIM 0.13 on grid; pixel AP 0.031 on metal_nut, where chance is 0.030: no", ("grid", "metal_nut")),
        ("all", "SSIM 0.13 on grid; pixel AP 0.031 on grid, where chance is 0.030; it has not learnt", ("grid",)),
        ("all", "something else", ()),
        ("bottle", "something else", ("bottle",)),
        ("mean", "", ()),
    ],
)  # fmt: skip
def test_where_a_model_has_not_learnt_is_told(category: str, note: str, where: tuple[str, ...]) -> None:
    row = {"check": "has learnt", "detector": "jnld", "paradigm": "unified", "category": category, "note": note}
    assert unlearnt_of(pd.DataFrame([{**row, "status": "failed"}])) == {("jnld", "unified"): where}
    assert unlearnt_of(pd.DataFrame([{**row, "status": "passed"}])) == {}


def test_where_no_model_has_learnt_that_is_the_finding() -> None:
    everyone = [(*model, "mean") for model in product(DETECTORS, PARADIGMS)]
    made = campaign(health=unlearnt(*everyone))
    first = opening.opening(made)
    assert len(first.finding) == 1 and first.finding[0].endswith("so nothing is concluded on robustness.")
    assert not first.sure and not first.table.strong
    told = " ".join(lessons.lessons(made))
    assert not [model for model in made.values.models if made.values.label(model) in told]
    everyone.remove(("jnld", "unified", "mean"))
    alone = opening.opening(campaign(health=unlearnt(*everyone)))
    assert alone.finding[0].startswith("No model that has learnt is robust: under")


def test_a_run_of_fixed_sets_alone_heeds_the_check_too(tmp_path: Path) -> None:
    write_rows(tmp_path / "results.csv", fake_rows())
    health = unlearnt(("omnial", "separate", "grid"), health=fake_health().head(0))
    write_text(tmp_path / "health.csv", health.to_csv(index=False))
    write_report(tmp_path, ("md",))
    text = (tmp_path / "report.md").read_text("utf-8")
    line = next(each for each in text.splitlines() if "What was found" in each)
    assert "On the fixed set pgd-8 (8/255, made on mean loss over" in line and "OmniAL separate (grid) has not" in line
    assert "kept by OmniAL separate" not in line
    assert text.count("| OmniAL separate<sup>a</sup> |") == 5 and "<sup>a</sup> OmniAL separate (grid) has not" in text


@pytest.mark.parametrize(("width", "words"), [(0.3, "overlap, so their order may be chance"), (0.01, "lie apart")])
def test_intervals_say_how_sure_the_order_is(made: Campaign, rows: pd.DataFrame, width: float, words: str) -> None:
    assert not any("intervals over images" in line for line in sentences(made))
    made = campaign(rows.assign(low=rows["value"] - width, high=rows["value"] + width))
    first = opening.opening(made)
    assert words in first.sure[0] and first.sure[0].startswith("Of the 95\u00a0% intervals over images, in pixel AUROC")
    assert "Brackets: 95 % interval over images" in first.table.caption
    shown = made.values.get(made.values.models[0], made.goals["any"].own, "pixel_auroc")
    row = list(first.table.frame["metric"]).index("pixel_auroc")
    wanted = f"{100 * shown:.1f} [{100 * (shown - width):.1f}, {100 * (shown + width):.1f}]".replace("[-", "[\u2212")
    assert cells(first.table)[row][2] == wanted
    assert first.table.columns[2].heading == "any harm,\nn = 64"


@pytest.mark.parametrize(
    ("width", "pixel", "image"),
    [
        (0.01, "(32.5 to 34.5)", "(25.4 to 27.4)"),
        (0.06, "(27.5 to 39.5)", "(20.4 to 32.4), not told apart from OmniAL unified"),
        (0.19, "(14.5 to 52.5), not told apart from JNLD separate and OmniAL unified", "(7.4 to 45.4), not told "
         "apart from JNLD unified, JNLD separate and OmniAL unified"),
        (0.4, "(\u22126.5 to 73.5), not told apart from any other",
         "(\u221213.6 to 66.4), not told apart from any other"),
    ],
)  # fmt: skip
def test_differences_on_the_same_images_say_who_is_told_apart(width: float, pixel: str, image: str) -> None:
    assert opening.opening(compared(width, health=failing(alone=True))).sure[0] == (
        "On the same images (paired 95\u00a0% intervals) in pixel AUROC OmniAL separate keeps 33.5 points more than "
        f"DRAEM unified {pixel}; in image AUROC OmniAL separate keeps 26.4 points more than DRAEM unified {image}."
    )


def test_a_difference_that_is_not_that_of_the_rows_is_not_told(rows: pd.DataFrame) -> None:
    differences = fake_differences(rows, 0.01, ("white-box-any",))
    right = campaign(rows.copy(), differences=differences)
    wrong = campaign(
        raised(rows, 0.5, "pixel_auroc", set="white-box-any", detector="omnial", paradigm="separate"),
        differences=differences,
    )
    one, other = (
        each for each in right.values.models if right.values.label(each) in ("OmniAL separate", "JNLD unified")
    )
    condition = right.goals["any"].own
    assert right.values.gap(one, other, condition, "pixel_auroc") is not None
    for pair in ((one, other), (other, one)):
        assert wrong.values.gap(*pair, condition, "pixel_auroc") is None


def test_the_table_of_pairs_is_signed_and_bold_where_they_are_apart(rows: pd.DataFrame) -> None:
    table = pairs_table(compared(0.06))
    assert len(table.frame) == 15 and "Of 6 models only the pairs" in table.caption
    assert cells(table)[0] == [
        "OmniAL separate \u2212 OmniAL unified", "+2.0 [\u22124.0, +8.0]", "+5.4 [\u22120.6, +11.4]",
    ]  # fmt: skip
    for row, record in enumerate(table.frame.to_dict("records")):
        for key in ("clean", "attacked"):
            assert ((row, key) in table.strong) == (record[f"{key}_low"] > 0 or record[f"{key}_high"] < 0)
    # Two checks failed, of JNLD separate and of DRAEM unified.
    assert {pair.split(" \u2212 ")[1] for pair, _ in marked(table)} == {"JNLD separate", "DRAEM unified"}
    assert len(table.notes) == 2
    few = pairs_table(compared(0.06, rows[rows["paradigm"] == "unified"]))
    assert len(few.frame) == 9 and "only the pairs" not in few.caption
    assert to_latex(few) and to_markdown(few)


def test_of_many_models_the_pairs_are_those_of_one_that_was_compared_with_most_others(rows: pd.DataFrame) -> None:
    """Of joined rows the best may have been compared with few."""
    all_of_them = fake_differences(rows, 0.06, ("clean", "white-box-any", "white-box-score"))
    best = (all_of_them["detector"] == "omnial") | (all_of_them["other_detector"] == "omnial")
    within = (all_of_them["detector"] == "omnial") & (all_of_them["other_detector"] == "omnial")
    table = pairs_table(campaign(rows.copy(), differences=all_of_them[~best | within]))
    # Three pairs of the one ahead of DRAEM's two and JNLD's other, and none with OmniAL, whose two stand alone.
    assert len(table.frame) == 9 and "of those compared with most others" in table.caption
    assert not any("OmniAL" in pair for pair in table.frame["model"])


def test_seeds_average_a_difference_and_a_missing_interval_leaves_it_out(tmp_path: Path) -> None:
    seeds = (0, 1)
    made = compared(0.06, several(seeds), attacks=fake_attempts(seeds=seeds))
    one, other = made.values.models[:2]
    gap, back = (made.values.gap(*pair, made.goals["any"].own, "pixel_auroc") for pair in ((one, other), (other, one)))
    assert gap.high - gap.low == pytest.approx(0.12) and back == pytest.approx((-gap[0], -gap[2], -gap[1]))
    assert pairs_table(made) is not None
    none = compared(math.nan)
    assert pairs_table(none) is None and "paired" not in " ".join(sentences(none))
    broken = (
        fake_differences(invented_rows(), 0.1, ("clean",)).astype({"difference": "object"}).assign(difference="much")
    )
    write_text(tmp_path / "differences.csv", broken.to_csv(index=False))
    with pytest.raises(UserError, match="no number"):
        read_differences(tmp_path)


@pytest.mark.parametrize(
    ("value", "where", "words"),
    [
        (
            0.415, {"detector": "omnial", "paradigm": "unified"},
            "kept by OmniAL separate (91.5\u00a0→\u00a042.0\u00a0%) and OmniAL unified (91.5\u00a0→\u00a041.5\u00a0%)",
        ),
        (0.085, {"detector": "jnld"}, "and least by 3 models (8.5\u00a0%)"),
        (0.3, {}, "all 6 models are left within a point of one another in pixel AUROC (30.0\u00a0%)"),
        (
            0.8, {"detector": "omnial"},
            "all but OmniAL unified and OmniAL separate at or below chance (50\u00a0%); most image AUROC",
        ),
    ],
)  # fmt: skip
def test_ties_and_what_does_not_fall_are_told(
    rows: pd.DataFrame, value: float, where: dict[str, str], words: str
) -> None:
    made = campaign(raised(rows, value, "pixel_auroc", set="white-box-any", **where), health=failing(alone=True))
    assert words in said(made, WHITE_BOX)
    if value == 0.8:
        gap = said(made, "under the fixed set")
        assert "white-box takes less than the fixed set from OmniAL unified, which it leaves at 80.0\u00a0%" in gap
        assert "4 of 6 models" in said(made, "overstates")


def test_models_that_others_or_another_goal_harm_more_are_counted(rows: pd.DataFrame) -> None:
    rows = raised(rows, 0.01, "pixel_auroc", set="transfer-pgd", source="jnld-unified", detector="draem")
    made = campaign(raised(rows, 0.1, "pixel_auroc", set="white-box-fabricate", detector="jnld"))
    assert "for 4 of 6 models" in said(made, "any other source")
    goals = said(made, "By goal")
    assert "missed defects (hide) cost more pixel AUROC for 4 of 6 models and false alarms (fabricate) for 2" in goals
    # Both goals were after pixels, so that nothing is said of the ranking of images.
    assert "image AUROC" not in goals


def test_one_model_alone(rows: pd.DataFrame) -> None:
    made = campaign(rows[(rows["detector"] == "jnld") & (rows["paradigm"] == "unified")])
    assert said(made, WHITE_BOX).startswith(
        "No model is robust: under white-box attack at 8/255 (64 images, one seed (0)) pixel AUROC moves for JNLD "
        "unified (87.5\u00a0→\u00a021.5\u00a0%), at or below chance (50\u00a0%); image AUROC, its score attacked, "
    )
    assert " 1 of 1 " not in " ".join(sentences(made))
    assert "overstates the robustness of JNLD unified (" in said(made, "overstates")
    assert "the model's own attack takes pixel AUROC at least as low as any other" in said(made, "In transfer")
    assert "by" in said(made, "By goal")
    assert white_box.white_box_table(made) is not None and plots.goals_figure(made) is not None


def test_no_figure_gives_no_finding(rows: pd.DataFrame) -> None:
    made = campaign(rows.assign(value=math.nan))
    first = opening.opening(made)
    assert first.finding[0] == "The rows define no figure by which anything could be concluded."
    assert "DRAEM unified (bottle, Clean test)" in findings.findings(made.fixed)[-1]
    assert lessons.lessons(made) == []


def test_the_same_is_said_once(made: Campaign, tmp_path: Path) -> None:
    """One seed is no reason to say it twice, and a finding does not come again among what the rows say."""
    said_of_seeds = [line for line in findings.limits(made.fixed) + lessons.caveats(made) if "noise" in line]
    assert len(said_of_seeds) == 1
    write_rows(tmp_path / "results.csv", fake_rows(sets={}, detectors=("jnld",)))
    write_report(tmp_path, ("md",))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.count("has the highest") == 1 and "## What the rows say" not in text


def test_equal_figures_share_the_first_place() -> None:
    rows = raised(fake_rows(), 1.0, "image_auroc", set="clean")
    for lower, words in (
        ("", "all 6 models have the highest image AUROC (100.0\u00a0%)"),
        ("draem", "4 models have the highest image AUROC"),
        ("jnld", "OmniAL unified and OmniAL separate have the highest image AUROC"),
    ):
        rows = raised(rows, 0.9, "image_auroc", set="clean", detector=lower) if lower else rows
        assert words in findings.best_clean(Values(rows))


def test_one_category_has_no_mean_of_its_own() -> None:
    rows = fake_rows(categories=("grid",), counts=(78,), detectors=("jnld",))
    rows.loc[(rows["metric"] == "pixel_auroc") & (rows["set"] == "clean"), "value"] = 0.6
    low = findings.findings(Values(rows))[0]
    assert "JNLD unified (grid 60.0\u00a0%) and JNLD separate (grid 60.0\u00a0%)" in low


def test_health_in_words(made: Campaign) -> None:
    passed = campaign(health=failing(alone=True))
    assert "All 64 health checks passed; 2 were not run." in sentences(passed)
    none = campaign(health=fake_health().head(0))
    assert not any("health checks" in sentence for sentence in sentences(none))
    assert any("No health check was run" in sentence for sentence in lessons.caveats(none))
    assert any("no zero gradients" in sentence for sentence in lessons.caveats(made))


def test_what_the_smallest_size_leaves_and_what_training_apart_brings(rows: pd.DataFrame) -> None:
    made = compared(0.01)
    assert said(made, "At 1/255") == (
        "At 1/255 most pixel AUROC is kept by OmniAL separate (91.5\u00a0→\u00a083.6\u00a0%) and least by DRAEM "
        "unified (83.5\u00a0→\u00a071.5\u00a0%)."
    )
    assert said(made, "for each category beside") == (
        "A model for each category beside one for all, pixel AUROC in points: on the clean test +2.0 (DRAEM), +2.0 "
        "(JNLD) and +2.0 (OmniAL) (0 outside the paired interval of 3); under attack at 1/255 +1.2 (DRAEM), +1.2 "
        "(JNLD) and +1.2 (OmniAL) (without an interval)."
    )
    doubtful = failing(("loss rises", "omnial-separate", "curve-1"), alone=True)
    unsure = campaign(raised(rows, 0.2, "pixel_auroc", set="curve-1", detector="jnld"), health=doubtful)
    first = said(unsure, "At 1/255")
    assert "kept by OmniAL unified" in first and "in doubt is OmniAL separate (91.5\u00a0→\u00a083.6\u00a0%)" in first
    apart = said(unsure, "for each category beside")
    assert apart.endswith("0.0 (JNLD) and +1.2 (OmniAL, in doubt) (without an interval).")
    without = campaign(rows[~rows["set"].str.startswith("curve")])
    assert not any("At 1/255" in sentence for sentence in sentences(without))
    assert "; under attack at 8/255 +" in said(without, "for each category beside")
    unified = campaign(rows[rows["paradigm"] == "unified"])
    assert not any("for each category beside" in sentence for sentence in sentences(unified))


def test_a_huge_ball_stands_for_a_suite_only_where_there_is_no_other() -> None:
    rows, attempts = (table[table["set"] != "white-box-foreground"] for table in (fake_suites(), fake_attempts()))
    names = ["white-box-unattacked", "white-box-any", "white-box-huge"]
    as_huge = {"set": "white-box-huge", "eps": "64/255"}
    more = rows[rows["set"] == "white-box-any"].assign(**as_huge, threat="linf 64/255")
    made = attempts[attempts["set"] == "white-box-any"].assign(**as_huge)
    rows, attempts = pd.concat([rows, more]), pd.concat([attempts, made])
    for sets, size in ((names, "8/255"), (names[::2], "64/255")):
        assert campaign(rows[rows["set"].isin(sets)], attacks=attempts).size == size


def test_what_is_in_doubt_is_nowhere_the_best() -> None:
    made = campaign(health=failing(("huge eps breaks", "omnial-separate", "health-huge"), alone=True))
    first, whole = opening.opening(made), white_box.white_box_table(made)
    assert "of what no check doubts most pixel AUROC is kept by OmniAL unified" in first.finding[0]
    assert "in doubt is OmniAL separate (91.5\u00a0→\u00a042.0\u00a0%)" in first.finding[0]
    assert "OmniAL separate (in doubt)" in said(made, "growing eps")
    assert "(OmniAL separate), the most in doubt, pixel AUROC" in said(made, "worst of 5")
    for table in (first.table, whole):
        # It is the highest of some column still.
        assert {model for model, _ in marked(table, strong=True)} == {"OmniAL unified"}
        assert "doubt" in table.caption
    models = [f"{detector}-{paradigm}" for detector, paradigm in product(DETECTORS, PARADIGMS)]
    every = campaign(health=failing(*(("huge eps breaks", model, "health-huge") for model in models), alone=True))
    assert ", all in doubt, all 6 models" in said(every, WHITE_BOX)
    assert not opening.opening(every).table.strong and "all in doubt, pixel AUROC" in said(every, "worst of 5")


def test_what_a_check_of_another_suite_doubts_is_the_same_in_sentence_and_table() -> None:
    made = campaign(health=failing(("loss rises", "omnial-separate", "transfer-pgd"), alone=True))
    first = opening.opening(made)
    assert ("OmniAL separate", "any") in marked(first.table)
    assert "kept by OmniAL unified" in first.finding[0] and "in doubt is OmniAL separate" in first.finding[0]


def test_the_least_is_told_though_it_is_in_doubt() -> None:
    """A check that fails says that a figure is true at the most."""
    made = compared(0.01, health=failing(("huge eps breaks", "draem-unified", "health-huge"), alone=True))
    assert "least by DRAEM unified (83.5\u00a0→\u00a08.5\u00a0%, in doubt), all 6" in said(made, WHITE_BOX)
    assert "33.5 points more than DRAEM unified" in opening.opening(made).sure[0]


def test_rows_without_sizes_are_reported(rows: pd.DataFrame) -> None:
    made = campaign(rows.assign(eps="", norm=""), attacks=fake_attempts().head(0))
    assert opening.opening(made).finding and lessons.lessons(made)


@pytest.mark.parametrize(
    ("column", "value"),
    [("goal", "hide"), ("aim", "image"), ("aim", "none"), ("norm", "l2"), ("where", "foreground")],
)
def test_a_curve_of_another_kind_tells_nothing_of_the_smallest_size(column: str, value: str) -> None:
    attempts, rows = fake_attempts(), fake_suites()
    for table in (attempts, rows):
        if column in table:
            table.loc[table["set"].str.match(r"curve-\d"), column] = value
    made = campaign(rows, attacks=attempts)
    assert not any("At 1/255" in sentence for sentence in sentences(made))
    assert ("With growing eps" in " ".join(sentences(made))) == (column != "aim")


def test_suites_alone_take_their_control_for_the_clean_test(tmp_path: Path) -> None:
    made = campaign(fake_suites())
    assert made.fixed.clean is not None and made.fixed.attacks == () and made.fixed_set is None
    assert not any("fixed set" in sentence for sentence in sentences(made))
    rows = fake_suites()
    write_rows(tmp_path / "results.csv", rows[rows["set"].str.startswith("white-box")])
    write_text(tmp_path / "attacks.csv", fake_attempts().to_csv(index=False))
    write_report(tmp_path, ("md",))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "What was found" in text and "no health.csv" in text and "Fixed sets" not in text


def two_left(most: float, least: float) -> str:
    """What is said of two models with these figures under attack, the first of them in doubt."""
    rows = invented_rows()
    rows = rows[(rows["paradigm"] == "unified") & rows["detector"].isin(["draem", "omnial"])]
    for detector, value in (("draem", most), ("omnial", least)):
        rows = raised(rows, value, "pixel_auroc", set="white-box-any", detector=detector)
    failed = failing(("loss rises", "draem-unified", "white-box-any"), alone=True)
    return said(campaign(rows, health=failed), WHITE_BOX).partition(";")[0]


def test_who_alone_is_not_in_doubt_keeps_most_though_it_keeps_least() -> None:
    told = two_left(0.3, 0.1)
    assert "of what no check doubts most pixel AUROC is kept by OmniAL unified" in told
    assert "in doubt is DRAEM unified" in told and "least" not in told and "1 models" not in told


def test_a_tie_says_who_is_in_doubt() -> None:
    assert "both models are left within a point of one another in pixel AUROC (10.0 to 10.5\u00a0%), in doubt is " in (
        two_left(0.105, 0.1)
    )


def test_who_ties_with_the_most_is_told_with_it(rows: pd.DataFrame) -> None:
    figures = {"draem": 0.010, "jnld": 0.0195, "omnial": 0.025}
    rows = rows[rows["paradigm"] == "unified"]
    for detector, value in figures.items():
        rows = raised(rows, value, "pixel_auroc", set="white-box-any", detector=detector)
    told = said(campaign(rows, health=failing(alone=True)), WHITE_BOX).partition(";")[0]
    most, _, least = told.partition(" and least by ")
    assert "OmniAL unified" in most and "JNLD unified" in most and least.startswith("DRAEM unified")


def test_seeds_of_which_one_is_undefined_are_reported() -> None:
    rows = several((0, 1))
    where = (rows["detector"] == "draem") & (rows["seed"] == 1) & (rows["metric"] == "pixel_auroc")
    rows.loc[where, ["value", "low", "high"]] = float("nan")
    assert opening.opening(campaign(rows)).finding


def test_thresholds_without_their_held_out_share_are_reported(rows: pd.DataFrame) -> None:
    made = campaign(rows[~rows["metric"].str.endswith("_held")])
    assert "thresholds that held-out normal images set; lower" in threshold_words(made.values)[0]
