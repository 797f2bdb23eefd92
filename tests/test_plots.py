"""Figures: drawn from rows alone, the same bytes twice, left out where there is nothing to draw."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import fake_rows, fake_run
from PIL import Image

from omnial_bench.errors import UserError
from omnial_bench.reports import example_images, loss_curves, plots, style
from omnial_bench.reports.grid import Grid
from omnial_bench.reports.origins import Loss, MadeSet
from omnial_bench.reports.values import Values


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> example_images.Examples:
    return example_images.Examples(fake_run(tmp_path_factory.mktemp("run"), size=(32, 40)) / "examples")


@pytest.fixture(scope="module")
def values() -> Values:
    return Values(fake_rows())


def test_a_figure_has_no_date_and_is_as_wide_as_two_columns(values: Values, tmp_path: Path) -> None:
    png, svg = style.save(plots.reconstruction(values), tmp_path)
    assert "<dc:date>" not in svg.read_text(encoding="utf-8")
    with Image.open(png) as image:
        assert image.width == pytest.approx(style.DOUBLE * 200, abs=1)


def test_bars_are_as_high_as_the_rows(values: Values) -> None:
    bars = plots.localisation(values).figure.axes[1].patches
    pairs = [(model, condition) for condition in values.conditions for model in values.models]
    heights = [100 * values.get(*pair, "pixel_ap") for pair in pairs]
    assert [bar.get_height() for bar in bars] == pytest.approx(heights)
    assert [bar.get_facecolor() == (1, 1, 1, 1) for bar in bars] == [condition.clean for _, condition in pairs]


def test_a_bar_without_a_figure_leaves_the_others_in_their_place() -> None:
    rows = fake_rows()
    gone = (rows["set"] == "clean") & (rows["detector"] == "draem") & (rows["metric"] == "pixel_ap")
    drawing = plots.localisation(Values(rows.assign(value=rows["value"].where(~gone))))
    bars = drawing.figure.axes[1].patches
    white = [bar.get_x() + bar.get_width() / 2 for bar in bars if bar.get_facecolor() == (1, 1, 1, 1)]
    assert len(bars) == 28 and white == pytest.approx([at - 0.336 for at in (2, 3, 4, 5)])


def test_seeds_are_averaged_with_their_spread_and_an_undefined_one_leaves_no_mean() -> None:
    seeds = [fake_rows().assign(seed=seed, value=lambda rows, by=0.01 * seed: rows["value"] - by) for seed in (0, 1, 2)]
    values = Values(pd.concat(seeds, ignore_index=True))
    axes, figure = plots.localisation(values).figure.axes[0], (values.models[0], values.clean, "pixel_auroc")
    assert axes.patches[0].get_height() == pytest.approx(100 * values.get(*figure))
    low, high = axes.lines[0].get_ydata()
    assert [(high - low) / 2, 100 * values.spread(*figure)] == pytest.approx([1, 1])
    seeds[1] = seeds[1].assign(value=np.nan)
    assert Values(pd.concat(seeds, ignore_index=True)).each(*figure) == []


def test_heat_map_shows_changes_in_points(values: Values) -> None:
    axes = plots.drops(values).figure.axes[0]
    wanted = [
        [100 * values.change(m, c, "pixel_ap", name) for c in values.attacks for m in values.models]
        for name in values.categories
    ]
    np.testing.assert_allclose(np.asarray(axes.collections[0].get_array()), wanted)
    numbers = [f"{round(value)}".replace("-", "\u2212") for row in wanted for value in row]
    assert [text.get_text() for text in axes.texts] == numbers


def test_numbers_stand_out_from_their_cells_and_a_cell_without_one_is_left_blank() -> None:
    with style.paper_style():
        axes = style.new_figure(3, 3).subplots()
        style.heat(axes, pd.DataFrame([[-100.0, np.nan, -0.2], [0.0, 50.0, 100.0]]), -100, 100, digits=0)
    said = [(text.get_text(), text.get_color()) for text in axes.texts]
    assert said == [("\u2212100", "white"), ("0", "black"), ("0", "black"), ("50", "black"), ("100", "white")]


def test_drawing_leaves_no_trace_in_the_process(values: Values) -> None:
    import matplotlib as mpl
    from matplotlib import pyplot

    def settings() -> dict[str, Any]:
        return {name: value for name, value in mpl.rcParams.items() if name != "backend"}

    before = settings()
    assert plots.localisation(values) and plots.drops(values)
    assert pyplot.get_fignums() == [] and settings() == before


def test_a_detector_has_its_marker_in_every_figure(values: Values) -> None:
    log = pd.DataFrame({"iteration": [1, 2], "loss": [2.0, 1.0], "validation_ap": [0.1, 0.2]})
    curve = loss_curves.training({f"{name}-unified": log for name in values.detectors}, values)
    ends = [line.get_marker() for line in plots.reconstruction(values).figure.axes[0].lines]
    assert ends == ["o", "o", "s", "s", "^", "^"]
    assert [axes.lines[0].get_marker() for axes in curve.figure.axes[3:]] == ["o", "s", "^"]


def test_nothing_to_draw(values: Values, tmp_path: Path) -> None:
    rows = fake_rows(sets={})
    few = Values(rows[rows["metric"] == "image_auroc"])
    assert [draw(few) for draw in (plots.reconstruction, plots.localisation, plots.drops)] == [None] * 3
    assert [loss_curves.training(logs, few) for logs in ({}, {"draem-unified": pd.DataFrame()})] == [None] * 2
    assert loss_curves.attack_loss({"pgd-4": MadeSet()}, values) is None
    none = example_images.Examples(tmp_path)
    for draw in (example_images.gallery, example_images.detections, example_images.under_attack):
        assert not draw(none, values)


def test_a_log_without_validation_and_a_loss_of_each_set(values: Values) -> None:
    log = pd.DataFrame({"iteration": [1, 2, 3], "loss": [2.0, 1.0, 0.5]})
    for given, lines in (
        (log, [1]), (log.assign(validation_ap=np.nan), [1]), (log.assign(validation_ap=[np.nan, 0.5, 0.6]), [1, 1]),
    ):  # fmt: skip
        drawing = loss_curves.training({"draem-separate-bottle": given}, values)
        assert [len(axes.lines) for axes in drawing.figure.axes] == lines
        assert ("pixel AP" in drawing.caption) == (len(lines) == 2)
    fitted = pd.DataFrame({"iteration": [0], "loss": [np.nan]})
    assert loss_curves.training({"draem-unified": fitted}, values) is None
    beside = loss_curves.training({"draem-unified": fitted, "jnld-unified": log}, values)
    assert [axes.get_title() for axes in beside.figure.axes] == ["JNLD"]
    curves = loss_curves.attack_loss({"pgd-8": MadeSet(loss=Loss(steps=(1.0, 1.5, 1.75)))}, values)
    assert list(curves.figure.axes[0].lines[0].get_ydata()) == [1.0, 1.5, 1.75]


def test_colours_stay_with_the_detector() -> None:
    assert style.colour("jnld", ("jnld",)) == style.colour("jnld", ("draem", "jnld", "x"))
    assert style.colour("x", ("x", "y")) != style.colour("y", ("x", "y"))
    many = (*"abcdefghijklmnop", *style.COLOURS)
    assert len({(style.colour(name, many), style.marker(name, many)) for name in many}) == len(many)


def test_under_attack_the_change_is_centred_on_grey_and_amplified(
    examples: example_images.Examples, values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[np.ndarray | None] = []
    show = Grid.show
    monkeypatch.setattr(Grid, "show", lambda *given, **how: (shown.append(given[3]), show(*given, **how))[1])
    drawings = example_images.under_attack(examples, values)
    assert [drawing.name for drawing in drawings] == [
        f"images_attack_{paradigm}_{category}"
        for paradigm in ("unified", "separate")
        for category in ("bottle", "grid")
    ]
    assert "\u00d7 15" in drawings[0].caption
    words = [text.get_text() for text in drawings[0].figure.axes[0].texts]
    assert {"change \u00d7 15", "OmniAL", "Control"} <= set(words)
    rows = examples.rows(set="pgd-8", model="draem-unified", category="bottle")
    after, before = (examples.image(rows, role).astype(int) for role in ("input", "original"))
    wanted = np.clip(128 + 15 * (after - before), 0, 255)
    assert any(image is not None and np.array_equal(image, wanted) for image in shown)


@pytest.mark.parametrize("scale", [False, True], ids=["grey levels", "map"])
def test_a_file_shows_every_pixel_of_a_cell(tmp_path: Path, scale: bool) -> None:
    from matplotlib import colormaps

    cell = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8) * 5
    with style.paper_style():
        grid = Grid(2, 3, 6 / 8)
        grid.show(1, 2, cell, scale=scale)
        grid.show(0, 0, None, none="none")
        figure = grid.done()
    png, _ = style.save(style.Drawing("cells", "", "", figure), tmp_path)
    with Image.open(png) as image:
        file = np.asarray(image.convert("RGB"))
    left, top = 0.62 + 2 * (grid.width + 0.05), 0.42 + grid.height + 0.05
    for i in range(6):
        for j in range(8):
            x, y = left + (j + 0.5) * grid.width / 8, top + (i + 0.5) * grid.height / 6
            colour = np.round(255 * np.array(colormaps["magma"](int(cell[i, j]))[:3])) if scale else [cell[i, j]] * 3
            assert np.abs(file[int(y * style.DPI), int(x * style.DPI)].astype(float) - colour).max() <= 1
    assert (file[0] == 255).all() and (file[int((top + grid.height) * style.DPI) + 2] == 255).all()


def test_clean_detections_and_galleries(examples: example_images.Examples, values: Values) -> None:
    detections, galleries = (draw(examples, values) for draw in (example_images.detections, example_images.gallery))
    assert [drawing.name for drawing in detections] == ["images_clean_unified", "images_clean_separate"]
    assert [drawing.name for drawing in galleries] == ["synthesis_draem", "synthesis_jnld", "synthesis_omnial"]
    heads = [text.get_text() for text in galleries[2].figure.axes[0].texts]
    assert [name for name in heads if name in example_images.PANELS] == list(example_images.PANELS)


@pytest.mark.parametrize(("path", "said"), [("../secret.png", "outside"), ("gone.png", "cannot read")])
def test_a_path_that_leads_outside_or_nowhere(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "examples").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    text = f"model,set,category,defect,id,role,path\ndraem-unified,clean,bottle,broken,a,input,{path}\n"
    (tmp_path / "examples" / "index.csv").write_text(text, encoding="utf-8")
    examples = example_images.Examples(tmp_path / "examples")
    with pytest.raises(UserError, match=said):
        examples.image(examples.rows(set="clean"), "input")


def test_an_index_without_its_columns(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("model,set\n", encoding="utf-8")
    with pytest.raises(UserError, match="'category'"):
        example_images.Examples(tmp_path)


def test_long_titles_leave_room_for_the_heat_maps(tmp_path: Path) -> None:
    """Where they take all of it, matplotlib warns, which is an error here."""
    titles = {name: f"{name}: the mean and the spread of each pixel" for name in ("draem", "jnld", "omnial")}
    values = Values(fake_rows(categories=("bottle",), counts=(83,)), titles=titles)
    for drawing in (plots.drops(values), plots.localisation(values), plots.reconstruction(values)):
        style.save(drawing, tmp_path)


@pytest.mark.parametrize("width", [style.SINGLE, style.DOUBLE])
def test_a_legend_is_no_wider_than_its_figure(width: float) -> None:
    with style.panels(1, 1, 2.05, 0.65, width=width) as (figure, _):
        style.legend(figure, {f"PatchCore separate {number}": {} for number in range(8)})
    (drawn,) = figure.legends
    assert drawn.get_window_extent().width <= figure.bbox.width
