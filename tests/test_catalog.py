import pytest

from omnial_bench.data.catalog import AUTO, CATALOG, MVTEC_AD, VISA, WHOLE, ForegroundRule, foreground_rule, guess_name
from omnial_bench.data.toy.make import SUBJECTS


@pytest.mark.parametrize(
    ("entry", "categories", "totals"), [(MVTEC_AD, 15, (3629, 467, 1258)), (VISA, 12, (8659, 962, 1200))]
)
def test_counts_add_up_to_the_published_totals(entry, categories, totals) -> None:
    found = list(entry.categories.values())
    sums = tuple(sum(getattr(c, part) for c in found) for part in ("train", "test_good", "test_defect"))
    assert (len(found), sums) == (categories, totals)


def test_mvtec_has_five_textures_and_they_are_all_foreground() -> None:
    textures = {name for name, category in MVTEC_AD.categories.items() if category.kind == "texture"}
    assert textures == {"carpet", "grid", "leather", "tile", "wood"}
    assert all(foreground_rule("mvtec_ad", name) == WHOLE for name in textures | {"cable"})


def test_rules_are_those_of_the_public_recipes() -> None:
    bottle = ForegroundRule(method="otsu", side="dark", close=6, open=6, fill_holes=True, largest=True)
    assert foreground_rule("mvtec_ad", "bottle") == bottle
    assert foreground_rule("mvtec_ad", "metal_nut") == ForegroundRule(method="triangle", side="bright", close=6, open=6)
    board = ForegroundRule(method="triangle", side="bright", channel="blue", close=8, open=3)
    assert foreground_rule("visa", "pcb3") == board


def test_what_is_unknown_is_told_by_the_images() -> None:
    assert foreground_rule("custom", "bottle") == foreground_rule("mvtec_ad", "spoon") == AUTO


def test_names_are_guessed_from_the_categories() -> None:
    assert guess_name(["grid", "bottle"]) == "mvtec_ad"
    assert guess_name(["pcb1"]) == "visa"
    assert guess_name(SUBJECTS) == "toy"
    assert guess_name(["grid", "pcb1"]) == guess_name(["spoon"]) == guess_name([]) == "custom"


def test_categories_of_different_data_sets_differ() -> None:
    names = [name for entry in CATALOG.values() for name in entry.categories]
    assert len(names) == len(set(names))
    assert set(CATALOG["toy"].categories) == set(SUBJECTS)
