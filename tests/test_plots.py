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


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What is shown in cells from here on."""
    cells: list[np.ndarray] = []
    show = Grid.show

    def noted(self: Grid, row: int, column: int, image: np.ndarray | None, **how: Any) -> None:
        cells.extend([] if image is None else [image])
        show(self, row, column, image, **how)

    monkeypatch.setattr(Grid, "show", noted)
    return cells


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("run"), size=(32, 40))


def test_a_figure_has_the_same_bytes_twice_and_no_date(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        drawing = plots.reconstruction(Values(fake_rows()))
        style.save(drawing, tmp_path / folder)
    for name in ("reconstruction.png", "reconstruction.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "<dc:date>" not in (tmp_path / "a" / "reconstruction.svg").read_text(encoding="utf-8")
    with Image.open(tmp_path / "a" / "reconstruction.png") as image:
        assert image.width == pytest.approx(style.DOUBLE * 200, abs=1)


def test_bars_are_as_high_as_the_rows() -> None:
    values = Values(fake_rows())
    drawing = plots.localisation(values)
    bars = [patch.get_height() for patch in drawing.figure.axes[1].patches]
    pairs = [(model, condition) for condition in values.conditions for model in values.models]
    assert bars == pytest.approx([100 * values.get(*pair, "pixel_ap") for pair in pairs])
    clean = [patch.get_facecolor() == (1, 1, 1, 1) for patch in drawing.figure.axes[1].patches]
    assert clean == [condition.clean for _, condition in pairs]


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
    drawing = plots.localisation(values)
    axes, model = drawing.figure.axes[0], values.models[0]
    assert axes.patches[0].get_height() == pytest.approx(100 * values.get(model, values.clean, "pixel_auroc"))
    low, high = axes.lines[0].get_ydata()
    assert (
        (high - low) / 2 == pytest.approx(100 * values.spread(model, values.clean, "pixel_auroc")) == pytest.approx(1)
    )
    seeds[1] = seeds[1].assign(value=np.nan)
    assert Values(pd.concat(seeds, ignore_index=True)).each(model, values.clean, "pixel_auroc") == []


def test_heat_map_shows_changes_in_points() -> None:
    values = Values(fake_rows())
    drawing = plots.drops(values)
    shown = np.asarray(drawing.figure.axes[0].collections[0].get_array())
    wanted = [
        [100 * values.change(m, c, "pixel_ap", name) for c in values.attacks for m in values.models]
        for name in values.categories
    ]
    np.testing.assert_allclose(shown, wanted)
    assert [text.get_text() for text in drawing.figure.axes[0].texts] == [
        f"{round(value)}".replace("-", "\u2212") for row in wanted for value in row
    ]


def test_numbers_stand_out_from_their_cells_and_a_cell_without_one_is_left_blank() -> None:
    with style.paper_style():
        axes = style.new_figure(3, 3).subplots()
        style.heat(axes, pd.DataFrame([[-100.0, np.nan, -0.2], [0.0, 50.0, 100.0]]), -100, 100, digits=0)
    said = [(text.get_text(), text.get_color()) for text in axes.texts]
    assert said == [("\u2212100", "white"), ("0", "black"), ("0", "black"), ("50", "black"), ("100", "white")]


def test_drawing_leaves_no_trace_in_the_process() -> None:
    import matplotlib as mpl
    from matplotlib import pyplot

    before = {name: value for name, value in mpl.rcParams.items() if name != "backend"}
    made = [plots.localisation(Values(fake_rows())), plots.drops(Values(fake_rows()))]
    assert all(made) and pyplot.get_fignums() == []
    assert {name: value for name, value in mpl.rcParams.items() if name != "backend"} == before


def test_a_detector_has_its_marker_in_every_figure() -> None:
    values = Values(fake_rows())
    scatter = plots.reconstruction(values)
    log = pd.DataFrame({"iteration": [1, 2], "loss": [2.0, 1.0], "validation_ap": [0.1, 0.2]})
    curve = loss_curves.training({f"{name}-unified": log for name in values.detectors}, values)
    ends = [line.get_marker() for line in scatter.figure.axes[0].lines]
    assert ends == ["o", "o", "s", "s", "^", "^"]
    assert [axes.lines[0].get_marker() for axes in curve.figure.axes[3:]] == ["o", "s", "^"]


def test_nothing_to_draw() -> None:
    rows = fake_rows(sets={})
    values = Values(rows[rows["metric"] == "image_auroc"])
    assert plots.reconstruction(values) is None and plots.localisation(values) is None and plots.drops(values) is None
    assert (
        loss_curves.training({}, values) is None
        and loss_curves.training({"draem-unified": pd.DataFrame()}, values) is None
    )
    assert loss_curves.attack_loss({"pgd-4": MadeSet()}, Values(fake_rows())) is None


def test_a_log_without_validation_and_a_loss_of_each_set() -> None:
    values = Values(fake_rows())
    log = pd.DataFrame({"iteration": [1, 2, 3], "loss": [2.0, 1.0, 0.5]})
    drawing = loss_curves.training({"draem-separate-bottle": log}, values)
    assert len(drawing.figure.axes) == 1 and "pixel AP" not in drawing.caption
    unknown = loss_curves.training({"draem-unified": log.assign(validation_ap=np.nan)}, values)
    assert [len(axes.lines) for axes in unknown.figure.axes] == [1]
    known = loss_curves.training({"draem-unified": log.assign(validation_ap=[np.nan, 0.5, 0.6])}, values)
    assert [len(axes.lines) for axes in known.figure.axes] == [1, 1] and "pixel AP" in known.caption
    fitted = pd.DataFrame({"iteration": [0], "loss": [np.nan]})
    assert loss_curves.training({"draem-unified": fitted}, values) is None
    beside = loss_curves.training({"draem-unified": fitted, "jnld-unified": log}, values)
    assert [axes.get_title() for axes in beside.figure.axes] == ["JNLD"]
    curves = loss_curves.attack_loss({"pgd-8": MadeSet(loss=Loss(steps=(1.0, 1.5, 1.75)))}, values)
    assert list(curves.figure.axes[0].lines[0].get_ydata()) == [1.0, 1.5, 1.75]


def test_colours_stay_with_the_detector() -> None:
    assert style.colour("jnld", ("jnld",)) == style.colour("jnld", ("draem", "jnld", "x"))
    assert style.colour("x", ("x", "y")) != style.colour("y", ("x", "y"))


def test_figures_under_attack_state_the_factor(run: Path) -> None:
    examples = example_images.Examples(run / "examples")
    drawings = example_images.under_attack(examples, Values(fake_rows()))
    assert [drawing.name for drawing in drawings] == [
        f"pictures_attack_{paradigm}_{category}"
        for paradigm in ("unified", "separate")
        for category in ("bottle", "grid")
    ]
    assert "\u00d7 15" in drawings[0].caption
    words = [text.get_text() for text in drawings[0].figure.axes[0].texts]
    assert {"change \u00d7 15", "OmniAL", "Control"} <= set(words)


def test_the_shown_perturbation_is_centred_on_grey_and_amplified(run: Path, shown: list[np.ndarray]) -> None:
    examples = example_images.Examples(run / "examples")
    rows = examples.rows(set="pgd-8", model="draem-unified", category="bottle")
    after, before = examples.image(rows, "input"), examples.image(rows, "original")
    example_images.under_attack(examples, Values(fake_rows()))
    wanted = np.clip(128 + 15 * (after.astype(int) - before.astype(int)), 0, 255)
    assert any(image.shape == wanted.shape and (image == wanted).all() for image in shown)


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


def test_clean_detections_and_galleries(run: Path) -> None:
    examples, values = example_images.Examples(run / "examples"), Values(fake_rows())
    assert [drawing.name for drawing in example_images.detections(examples, values)] == [
        "pictures_clean_unified",
        "pictures_clean_separate",
    ]
    shown = example_images.gallery(examples, values)
    assert [drawing.name for drawing in shown] == ["synthesis_draem", "synthesis_jnld", "synthesis_omnial"]
    heads = [text.get_text() for text in shown[2].figure.axes[0].texts]
    assert [name for name in heads if name in example_images.PANELS] == list(example_images.PANELS)


def test_no_examples_no_figures(tmp_path: Path) -> None:
    examples, values = example_images.Examples(tmp_path), Values(fake_rows())
    assert not example_images.gallery(examples, values) + example_images.detections(examples, values)
    assert not example_images.under_attack(examples, values)


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
