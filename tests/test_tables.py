"""Tables from rows: values, changes, published figures, chance levels, and the writers' escapes."""

import io
import math
import re
from pathlib import Path

import pandas as pd
import pytest
from fake_run import cells, fake_rows

from omnial_bench.errors import UserError
from omnial_bench.reports import categories, findings, headline, making, model_rows
from omnial_bench.reports.categories import published, published_categories
from omnial_bench.reports.conditions import Condition, Titles, panels_of
from omnial_bench.reports.document import write_report
from omnial_bench.reports.origins import MadeModel, MadeSet
from omnial_bench.reports.table import (
    DASH,
    Column,
    Table,
    latex_text,
    markdown_text,
    show,
    to_csv,
    to_latex,
    to_markdown,
)
from omnial_bench.reports.values import Values
from omnial_bench.results import write_rows


def test_conditions_come_in_order_of_clean_control_then_size_and_goal() -> None:
    values = Values(fake_rows().sample(frac=1, random_state=3))
    assert [item.set for item in values.conditions] == ["clean", "unattacked", "pgd-4", "pgd-8", "pgd-8-targeted"]
    assert [item.label for item in values.conditions][2:] == ["4/255", "8/255", "8/255 targeted"]
    assert [model.name for model in values.models][:3] == ["draem-unified", "draem-separate", "jnld-unified"]
    assert values.conditions[3].eps == 8 / 255 and values.control == values.conditions[1]


def test_what_attacked_is_told_by_the_columns_and_never_by_the_label() -> None:
    def condition(rows: pd.DataFrame) -> Condition:
        (found,) = [item for item in Values(rows).conditions if item.set == "pgd-8"]
        return found

    rows = fake_rows(sets={"pgd-8": "linf 8/255 targeted"})
    rows.loc[rows["set"] == "pgd-8", ["attack", "norm", "eps", "goal"]] = "mi", "l2", "1/4", "hide"
    found = condition(rows)
    assert (found.attack, found.norm, found.eps, found.goal) == ("mi", "l2", 0.25, "hide")
    silent = rows.assign(attack="", norm="", eps="", goal="")
    without = condition(silent)
    assert without == found and without.attack == "" and math.isnan(without.eps) and not without.towards
    # Rows of two versions in one file are of one condition.
    mixed = condition(pd.concat([silent[silent["detector"] == "draem"], rows[rows["detector"] != "draem"]]))
    assert (mixed.attack, mixed.eps) == ("mi", 0.25)


def test_headline_holds_values_changes_and_chance() -> None:
    rows = fake_rows()
    table = headline.headline(Values(rows))
    frame = table.frame[(table.frame["metric"] == "pixel_ap") & (table.frame["detector"] == "jnld")]
    wanted = rows[(rows["detector"] == "jnld") & (rows["metric"] == "pixel_ap") & (rows["category"] == "mean")]
    by_set = wanted.pivot(index="paradigm", columns="set", values="value")
    for record in frame.to_dict("records"):
        figures = by_set.loc[record["paradigm"]]
        assert record["pgd-8"] == figures["pgd-8"]
        assert record["pgd-8_change"] == pytest.approx(figures["pgd-8"] - figures["unattacked"], abs=1e-12)
    assert len(table.frame) == 5 * 6 + 1
    chance = cells(table)[-1]
    assert chance[:3] == ["chance level", "3.1", "6.2"] and chance[4] == ""
    # A fixed set bounds nothing, so nothing is bold.
    assert not table.strong
    assert [column.heading for column in table.columns][1:3] == ["Clean test,\nn = 161", "Control,\nn = 80"]
    assert table.columns[3].group == "4/255, n = 80"


def test_the_best_of_a_column_is_the_highest_of_those_that_may_be_compared() -> None:
    frame = pd.DataFrame({"kind": "model", "panel": "p", "a": [0.9, 0.5, 0.5001, 0.2], "b": [0.1, 0.1, 0.1, 0.4]})
    among = {(row, key) for row in (1, 2, 3) for key in "ab"} - {(3, "b")}
    for rows, allowed, best in ((4, among, {(1, "a"), (2, "a")}), (4, set(), set()), (0, among, set())):
        assert model_rows.extreme_cells(frame.head(rows), ["a", "b"], allowed) == best


def test_an_interval_stands_behind_every_figure_of_the_headline() -> None:
    rows = fake_rows()
    bounded = rows.assign(low=rows["value"] - 0.07, high=rows["value"] + 0.05)
    plain, table = headline.headline(Values(rows)), headline.headline(Values(bounded))
    assert "Brackets" not in plain.caption and "[" not in to_markdown(plain)
    assert "95 % interval over images" in table.caption
    figures = [cell for line in cells(table) for cell in line[1:4] if line[0] != "chance level"]
    assert all(re.fullmatch(r"[\d.]+ \[[\d.]+, [\d.]+\]", cell) for cell in figures) and len(figures) == 90
    first = cells(table)[0][1]
    value = Values(rows).get(Values(rows).models[0], Values(rows).clean, "image_auroc")
    assert first == f"{100 * value:.1f} [{100 * value - 7:.1f}, {100 * value + 5:.1f}]"
    assert "clean_low" in to_csv(table).splitlines()[0] and "clean_low" not in to_csv(plain).splitlines()[0]
    assert f"{first} &" in to_latex(table)
    # A row without an interval keeps its bare figure.
    part = bounded.assign(high=bounded["high"].where(bounded["detector"] != "draem"))
    assert "[" not in cells(headline.headline(Values(part)))[0][1]


def test_no_sets_no_control_and_undefined_figures() -> None:
    rows = fake_rows(sets={})
    rows.loc[(rows["metric"] == "pixel_ap") & rows["category"].isin(["grid", "mean"]), "value"] = math.nan
    values = Values(rows)
    assert [column.key for column in headline.headline(values).columns] == ["model", "clean"]
    assert cells(categories.by_category(values, "pixel_ap"))[1][:3] == ["grid", DASH, DASH]
    assert any("Undefined" in sentence and "grid" in sentence for sentence in findings.findings(values))


def test_published_figures_stand_only_beside_the_published_test_split() -> None:
    tables = [
        categories.by_category(Values(fake_rows(**how)), "image_auroc")
        for how in ({}, {"counts": (83, 70)}, {"dataset": "toy"})
    ]
    whole, part, _ = (table.frame.set_index("category") for table in tables)
    omnial, draem = "omnial-unified_published", "draem-unified_published"
    assert whole.loc["bottle", omnial] == part.loc["bottle", omnial] == 1.0
    assert whole.loc["grid", draem] == pytest.approx(0.981)
    assert whole.loc["class mean", draem] == pytest.approx((0.946 + 0.981) / 2)
    assert part.loc[["grid", "class mean"], omnial].isna().all()
    assert [any(column.heading == "publ." for column in table.columns) for table in tables] == [True, True, False]


@pytest.mark.parametrize(
    ("where", "variant", "value", "note"),
    [
        (("mvtec_ad", "mean", "omnial", "unified", "image_auroc"), "", 0.972, ""),
        (("mvtec_ad", "mean", "draem", "unified", "pixel_ap"), "with panels", 0.574, ""),
        (("mvtec_ad", "bottle", "padim", "separate", "image_auroc"), "", 0.999, ""),
        (("visa", "pcb4", "draem", "unified", "pixel_ap"), "", None, "pipe_fryum"),
        (("mvtec_ad", "mean", "mkd", "separate", "pixel_auroc"), "", None, "exchanged"),
    ],
)
def test_published_record(where: tuple[str, ...], variant: str, value: float | None, note: str) -> None:
    figure = published(*where, variant=variant)
    assert figure is not None and note in figure.note
    assert value is None or figure.value == pytest.approx(value)


def test_published_counts() -> None:
    assert published("mvtec_ad", "mean", "omnial", "unified", "image_auroc").test_images == 1725
    assert len(published_categories("mvtec_ad")) == 15 and len(published_categories("visa")) == 12
    assert published("mvtec_ad", "bottle", "omnial", "unified", "pixel_ap") is None


def test_a_doubtful_published_figure_is_marked_and_explained() -> None:
    rows = fake_rows(categories=("pcb4", "pcb3"), counts=(201, 201), dataset="visa")
    table = categories.by_category(Values(rows), "pixel_ap")
    assert "draem-unified_published" in {key for _, key in table.letters}
    assert "†" in table.caption and "†" in to_markdown(table)


def test_panel_comparison_needs_a_pair() -> None:
    assert categories.panel_comparison(Values(fake_rows())) is None
    rows = fake_rows(detectors=("draem", "draem-panels"))
    table = categories.panel_comparison(Values(rows))
    assert list(table.frame["variant"]) == ["without panels", "with panels"] * 2
    assert table.frame.loc[1, "pixel_ap"] > table.frame.loc[0, "pixel_ap"]
    assert panels_of("omnial-no-panels") == ("omnial", False) and panels_of("jnld_with_panel") == ("jnld", True)


def test_sets_table_reads_the_manifests() -> None:
    counts = {"bottle": {"good": 8, "synthetic": 32}}
    made = MadeSet.model_validate({"counts": counts, "loss": {"steps": [1.0, 1.25, 1.5]}, "largest_change": 4})
    origin = "mean loss over DRAEM unified, JNLD unified and OmniAL unified"
    table = making.sets_table(Values(fake_rows()), {"pgd-4": made})
    assert cells(table)[0][2:] == [origin, "40", "80.0", "3", "1.000", "1.500", "4"]
    assert making.sets_table(Values(fake_rows()), {}) is None


def test_settings_table_counts_trainings_and_tells_no_budget_of_what_is_fitted() -> None:
    made = {"recipe": {"size": [64, 96], "training": {"epochs": 20.0, "batch": 8, "lr": 0.002}}}
    told = {
        name: MadeModel.model_validate(
            {**made, "provenance": {"iterations": iterations, "precision": "32-true", "commit": commit}}
        )
        for name, iterations, commit in (
            ("jnld-separate-grid", 150, "abc"), ("jnld-separate-bottle", 90, "def"), ("jnld-unified", 0, "abc"),
        )
    }  # fmt: skip
    fitted = making.settings_table(Values(fake_rows()), {"jnld-unified": told.pop("jnld-unified")})
    assert fitted.caption.endswith("has no budget and no iterations.")
    assert cells(fitted)[0][3:] == ["64 \u00d7 96", DASH, DASH, DASH, "0", "0", "32-true", "abc"]
    table = making.settings_table(Values(fake_rows()), told)
    settings = ["small", "2", "64 \u00d7 96", "8", "20", "0.002", "90", "150"]
    assert cells(table) == [["JNLD separate", *settings, "32-true", "abc, def"]]
    assert "fitted" not in table.caption
    assert making.settings_table(Values(fake_rows()), {}) is None


def test_findings_by_rule() -> None:
    rows = fake_rows()
    said = " ".join(findings.findings(Values(rows)))
    assert "OmniAL separate has the highest pixel AUROC" in said
    assert "8/255 hurts localisation more than 4/255" in said and "DRAEM unified (AP\u00a0\u2212" in said
    assert "Below" not in said
    clean, unified = rows["set"] == "clean", rows["paradigm"] == "unified"
    weak = clean & (rows["detector"] == "jnld") & (rows["metric"] == "pixel_auroc") & (rows["category"] == "bottle")
    grey = clean & (rows["detector"] == "draem") & (rows["metric"] == "ssim") & (rows["category"] == "grid")
    rows.loc[weak & ~unified, "value"] = 0.61
    rows.loc[(rows["set"] == "pgd-8") & (rows["detector"] == "omnial"), "value"] = 0.9
    rows.loc[grey & unified, "value"] = 0.13
    said = " ".join(findings.findings(Values(rows)))
    assert "Below 75\u00a0% pixel AUROC on the clean test: JNLD separate (bottle 61.0\u00a0%)" in said
    assert "8/255 does not hurt more than 4/255 for OmniAL unified" in said
    assert "does not carry over" in said
    assert "SSIM of the reconstruction of normal images is below 0.5 for DRAEM unified (grid 0.13)" in said


def test_limits_name_the_source_and_who_had_no_part_in_it() -> None:
    said = " ".join(findings.limits(Values(fake_rows())))
    assert "no white-box figure" in said and "OmniAL separate had no part" in said and "training normals" in said


SOURCES = {
    "one unified": "omnial-unified",
    "one separate": "omnial-separate-grid",
    "separate, each category": "omnial-separate-bottle+omnial-separate-grid",
    "separate, by the name of all": "jnld-separate",
    "several": "draem-unified+jnld-unified+omnial-unified",
    "several of both kinds": "draem-unified+omnial-separate-grid",
    "foreign": "elsewhere-unified",
    "foreign and known": "elsewhere-unified+jnld-unified",
}


def placed(told: str) -> dict[str, set[str]]:
    """`A, B (grid) and C` as the models that it names, with the categories that each is limited to."""
    found = re.findall(r"((?:DRAEM|JNLD|OmniAL) (?:unified|separate))(?: \(([^)]*)\))?", told)
    return {name: set(where.split(", ")) if where else {"bottle", "grid"} for name, where in found}


def made_on(rows: pd.DataFrame, set_name: str) -> dict[str, set[str]]:
    """The categories of each model for which the source column of a set's rows names it."""
    mine = rows[(rows["set"] == set_name) & (rows["category"] != "mean")]
    found: dict[str, set[str]] = {}
    for row in mine.drop_duplicates(["detector", "paradigm", "category"]).itertuples():
        model = f"{row.detector}-{row.paradigm}"
        if {model, f"{model}-{row.category}"} & set(str(row.source).split("+")):
            found.setdefault(Titles((), {}).of_model(model), set()).add(str(row.category))
    return found


@pytest.mark.parametrize("told", [True, False], ids=["aim in the rows", "aim not told"])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_sentences_on_the_origin_of_sets_follow_the_source_column(source: str, told: bool) -> None:
    rows = fake_rows(source=source)
    rows["aim"] = rows["aim"] if told else ""
    values, own = Values(rows), made_on(rows, "pgd-8")
    names = [values.label(model) for model in values.models]
    rest = {name: {"bottle", "grid"} - own.get(name, set()) for name in names}
    rest = {name: where for name, where in rest.items() if where}
    said = findings.limits(values)
    absent = [sentence for sentence in said if "had no part" in sentence]
    present = [sentence for sentence in said if "made on" in sentence]
    assert len(absent) == bool(rest) and len(present) == bool(own)
    if rest:
        assert "measure transfer" in absent[0] and values.titles.of_sources(source.split("+")) in absent[0]
        assert placed(absent[0].split("white-box figure: ")[1]) == rest
    if own:
        assert placed(present[0]) == own
        assert ("mean loss" in present[0]) == ("+" in source) and ("white-box and no transfer" in present[0]) == (
            "+" not in source
        )
    pairs = [sentence for sentence in findings.findings(values) if "hurts localisation more" in sentence]
    assert set(placed(" ".join(pairs))) == set(own)
    better = rows.assign(value=rows["value"].where(rows["set"] != "pgd-8", 0.95))
    gains = next(sentence for sentence in findings.findings(Values(better)) if "rises over the control" in sentence)
    carried, _, itself = gains.partition("although the very model was attacked")
    assert set(placed(itself)) == set(own) and set(placed(carried)) == set(names) - set(own)
    assert ("does not carry over" in carried) == bool(set(names) - set(own))


def test_sets_of_several_sources_are_told_apart() -> None:
    other = fake_rows(source="draem-unified", sets={"pgd-2": "linf 2/255"})
    rows = [fake_rows(source="omnial-separate-grid"), other[other["set"] == "pgd-2"]]
    said = findings.limits(Values(pd.concat(rows, ignore_index=True)))
    for names, own in (("pgd-4, pgd-8, pgd-8-targeted", "OmniAL separate (grid)"), ("pgd-2", "DRAEM unified")):
        assert any(line.startswith(f"{names}: the sets were made on {own}: there they are white-box") for line in said)
        [absent] = [line for line in said if line.startswith(f"{names}: the sets are fixed")]
        assert own not in absent.split("white-box figure: ")[1]


def test_a_model_that_rows_say_was_not_attacked_is_no_source_whatever_its_name() -> None:
    rows = fake_rows(source="omnial-unified")
    rows.loc[rows["set"].str.startswith("pgd"), "aim"] = "other"
    said = " ".join(findings.limits(Values(rows)))
    assert "and OmniAL separate had no part" in said and "OmniAL unified" in said.split("white-box figure: ")[1]
    assert "made on" not in said


def test_a_metric_that_is_not_known_stands_under_its_name(tmp_path: Path) -> None:
    rows = fake_rows()
    plain = headline.every_metric(Values(rows))
    groups = ["", *["Image"] * 6, *["Pixel"] * 4, *["Reconstruction"] * 2, ""]
    assert [column.group for column in plain.columns] == groups
    assert [column.heading for column in plain.columns][-4:] == ["AUPRO", "PSNR (dB)", "SSIM", "n"]
    alike = rows[rows["metric"] == "psnr"].assign(value=1234.5)
    odd = pd.concat([rows, *(alike.assign(metric=name) for name in ("latency_ms", "latency_ms_chance"))])
    table = headline.every_metric(Values(odd))
    assert [column.heading for column in table.columns][-2:] == ["latency_ms", "n"]
    assert {line[-2] for line in cells(table)} == {"1234.500"}
    assert table.caption == f"{plain.caption} latency_ms: not known to this version, as in the rows."
    write_rows(tmp_path / "results.csv", odd)
    (report,) = write_report(tmp_path, ["md"])
    assert "latency" in report.read_text(encoding="utf-8")


def test_seeds_are_averaged_and_data_sets_are_not_mixed() -> None:
    first = fake_rows()
    second = first.assign(seed=1, value=first["value"] + 0.02)
    alone, values = Values(first), Values(pd.concat([first, second], ignore_index=True))
    one = alone.models[0], alone.clean, "ssim"
    assert values.get(*one) == pytest.approx(alone.get(*one) + 0.01)
    assert "2 seeds" in headline.headline(values).caption
    with pytest.raises(UserError, match="one data set"):
        Values(pd.concat([first, second.assign(dataset="visa")], ignore_index=True))
    with pytest.raises(UserError, match="got none"):
        Values(first.head(0))


def test_white_box_rows_stand_apart_from_the_set_of_the_same_threat() -> None:
    rows = fake_rows()
    own = rows[rows["set"] == "pgd-8"].assign(source="self", value=0.1)
    values = Values(pd.concat([rows, own], ignore_index=True))
    attacked, fixed = values.conditions[-1], values.sets[1]
    assert attacked.white_box and attacked.label == "8/255, white-box"
    assert values.get(values.models[0], attacked, "ssim") == pytest.approx(0.1)
    assert values.get(values.models[0], fixed, "ssim") != pytest.approx(0.1)


def test_detectors_go_by_the_titles_of_their_records() -> None:
    rows = fake_rows().replace({"detector": {"jnld": "places", "omnial": "draem-slow"}})
    values = Values(rows, titles={"places": "Mean of each pixel", "draem-slow": "DRAEM"})
    # A record that starts from another one takes its title over: then the names tell them apart.
    names = ["DRAEM (draem) unified", "DRAEM (draem-slow) unified", "Mean of each pixel unified"]
    assert [values.label(model) for model in values.models if model.paradigm == "unified"] == names
    assert values.titles.of_model("places-separate-metal_nut") == "Mean of each pixel separate (metal_nut)"
    titles = Titles((), {})
    assert [titles.of_detector(name) for name in ("jnld", "gaussian", "jnld-no-panels", "mine")] == [
        "JNLD", "Gaussian of fixed filters", "JNLD without panels", "mine",
    ]  # fmt: skip
    assert titles.of_sources(("draem-unified",)) == "DRAEM unified"
    assert Condition("x", "l2 0.5 hide", "none").label == "\u21132 0.5 hide"


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (0.12345, "percent", "12.3"), (-0.0831, "change", "\u22128.3"), (0.0002, "change", "0.0"),
        (31.26, "decibel", "31.3"), (0.9, "fraction", "0.900"), (math.nan, "percent", "\u2013"),
        (12345, "count", "12\u202f345"),
    ],
)  # fmt: skip
def test_shown_numbers(value: float, style: str, text: str) -> None:
    assert show(value, style) == text


NASTY = Table(
    "nasty",
    "50 % of a_b & c",
    pd.DataFrame(
        {"name": ["a|b_*<x>", "$\\{~"], "value": [0.5, math.nan], "panel": ["p#1", "p#1"], "kind": ["", "mean"]}
    ),
    (Column("name", "Name & <b>", style="text"), Column("value", "x_1", group="g%")),
    strong=frozenset({(0, "value")}),
    letters={(0, "value"): "†"},
)


def test_latex_is_escaped_and_balanced() -> None:
    text = to_latex(NASTY)
    assert r"a\textbar{}b\_*\textless{}x\textgreater{} & \textbf{50.0$^{\dagger}$} \\" in text
    assert r"\caption{50 \% of a\_b \& c}" in text and r" & g\% \\" in text
    assert r"\$\textbackslash{}\{\textasciitilde{} & -- \\" in text
    assert text.count("\\begin") == text.count("\\end") == 2
    plain = text.replace(r"\{", "").replace(r"\}", "")
    assert plain.count("{") == plain.count("}")
    assert latex_text("é") == "é"


def test_latex_has_groups_blocks_rules_and_notes_in_their_places() -> None:
    frame = pd.DataFrame(
        {
            "panel": ["AP & co", "AP & co", "AUROC", "AUROC"], "kind": ["model", "mean", "model", "chance"],
            "name": ["a_b", "mean", "c", "chance"], "x": [0.5, 0.25, -0.1, 0.5], "y": [1.0, math.nan, 0.0, math.nan],
        }
    )  # fmt: skip
    columns = (
        Column("name", "Model", style="text"),
        Column("x", "one,\nn = 2", group="G #1"),
        Column("y", "one", group="G #1"),
    )
    table = Table(
        "t_1", "100 %", frame, columns, strong=frozenset({(0, "y")}), letters={(0, "y"): "a"}, notes=(("a", "5 % off"),)
    )
    wanted = r"""% needs \usepackage{booktabs}
\begin{table*}
\centering
\small
\caption{100 \%}
\label{tab:t-1}
\begin{tabular}{@{}lrr@{}}
\toprule
 & \multicolumn{2}{c}{G \#1} \\
\cmidrule(lr){2-3}
Model & one,
n = 2 & one \\
\midrule
\multicolumn{3}{@{}l}{\emph{AP \& co}} \\
a\_b & 50.0 & \textbf{100.0\textsuperscript{a}} \\
\midrule
mean & 25.0 & -- \\
\addlinespace
\multicolumn{3}{@{}l}{\emph{AUROC}} \\
c & $-$10.0 & 0.0 \\
chance & 50.0 &  \\
\bottomrule
\end{tabular}
\par\footnotesize\raggedright \textsuperscript{a}~5 \% off
\end{table*}
"""
    assert to_latex(table) == wanted
    plain = to_latex(Table("u", "", frame.head(1), (*columns[:1], Column("x", "x"))))
    assert "cmidrule" not in plain and "\\toprule\nModel & x \\\\\n\\midrule\n" in plain


def test_markdown_is_escaped() -> None:
    text = to_markdown(NASTY)
    assert r"a\|b\_\*&lt;x&gt;" in text and r"**p\#1**" in text and r"**50.0†**" in text
    assert {line.replace(r"\|", "").count("|") for line in text.splitlines()} == {3}
    assert markdown_text("two\nlines") == "two lines"


def test_csv_keeps_every_digit() -> None:
    rows = fake_rows()
    frame = pd.read_csv(io.StringIO(to_csv(headline.headline(Values(rows)))))
    wanted = rows.query("metric == 'image_auroc' and category == 'mean' and set == 'pgd-4'")["value"]
    assert list(frame["pgd-4"][:6]) == list(wanted)


def test_conditions_of_the_clean_test_stand_in_a_table_of_their_own() -> None:
    rows = fake_rows()
    clean = rows[rows["set"] == "clean"]
    kinds = [
        clean.assign(set=f"clean/{kind}", value=clean["value"] * share) for kind, share in (("dim", 0.5), ("lit", 0.7))
    ]
    values = Values(pd.concat([rows, *kinds], ignore_index=True))
    assert values.conditions == Values(rows).conditions and values.clean.set == "clean"
    table, model = categories.by_condition(values).frame.head(3), values.models[0]
    whole = values.get(model, values.clean, "image_auroc")
    assert list(table["condition"]) == ["dim", "lit", "mean"]
    assert list(table[model.name]) == pytest.approx([0.5 * whole, 0.7 * whole, 0.6 * whole])
