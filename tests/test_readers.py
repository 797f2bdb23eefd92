"""Layouts on small drawn trees: each is found by itself, read with its labels and masks, and says what it lacks."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_images import MARKED, draw, mark, publish_visa, save

from omnial_bench.data.dataset import Dataset, find_dataset, scan
from omnial_bench.data.readers.base import Reader, Sample
from omnial_bench.data.readers.registry import choose_reader
from omnial_bench.data.verify import verify
from omnial_bench.errors import UserError

pytestmark = pytest.mark.usefixtures("own_cache")
Make = Callable[[Path], Path]


def mpdd(root: Path) -> Path:
    draw(root, "tubes/train/good/000.png", "tubes/test/good/001.png", "tubes/test/anomalous/002.png")
    return mark(root, "tubes/ground_truth/anomalous/002_mask.png")


def btad(root: Path) -> Path:
    draw(root, "01/train/ok/0000.bmp", "01/test/ok/0001.bmp", "01/test/ko/0002.bmp", "03/train/ok/0000.bmp")
    draw(root, "03/test/ko/0003.bmp")
    return mark(root, "01/ground_truth/ko/0002.png", "03/ground_truth/ko/0003.bmp")


def kolektor(root: Path) -> Path:
    names = ["train/10000", "train/10001", "test/20000", "test/20001", "train/10301 (copy)"]
    draw(root, *(f"{name}.png" for name in names))
    mark(root, *(f"{name}_GT.png" for name in ("train/10001", "test/20001")))
    mark(root, *(f"{name}_GT.png" for name in ("train/10000", "test/20000", "train/10301 (copy)")), levels=0)
    return root


def plain(root: Path) -> Path:
    draw(root, *(f"bolt/OK/day1/{number}.png" for number in range(5)), *(f"bolt/OK/day2/{n}.png" for n in range(5)))
    draw(root, "bolt/scratch/0.png", "bolt/scratch/deep/0.png", "bolt/dent/7.jpg")
    return mark(root, "bolt/scratch/0_mask.png", "bolt/scratch/deep/0_GT.png", "bolt/dent/7_label.png")


def split(root: Path) -> Path:
    draw(root, "nut/train/normal/0.png", "nut/test/normal/1.png", "nut/test/burr/2.png", "nut/test/burr/22.png")
    return mark(root, "nut/test/burr/2_mask.png", "nut/test/burr/22_mask.png")


def magnetic_tile(root: Path) -> Path:
    """Masks with grey edges, as the published ones have."""
    draw(root, *(f"MT_Free/Imgs/exp1_num_{number}.jpg" for number in range(6)), "MT_Crack/Imgs/exp2_num_9.jpg")
    mark(root, *(f"MT_Free/Imgs/exp1_num_{number}.png" for number in range(6)), levels=0)
    mask = [[0] * 6, [12] * 4 + [0] * 2, [12, 255, 240, 12, 0, 0], [12] * 4 + [0] * 2]
    save(root / "MT_Crack/Imgs/exp2_num_9.png", np.array(mask, np.uint8))
    return root


def mvtec_ad2(root: Path) -> Path:
    """Its masks lie inside the public test, and private tests have no labels."""
    names = ["train/good/000_regular", "validation/good/009_regular", "test_public/good/001_overexposed"]
    names += ["test_public/bad/002_shift_1", "test_public/bad/003_regular", "test_private/004_regular"]
    draw(root, *(f"vial/{name}.png" for name in names))
    return mark(
        root, *(f"vial/test_public/ground_truth/bad/{name}_mask.png" for name in ("002_shift_1", "003_regular"))
    )


def mvtec_loco(root: Path) -> Path:
    """Several masks an image, a value each, of which each marks one of the two pixels."""
    draw(root, "pushpins/train/good/000.png", "pushpins/validation/good/000.png", "pushpins/test/good/000.png")
    draw(root, "pushpins/test/logical_anomalies/000.png", "pushpins/test/structural_anomalies/000.png")
    (root / "pushpins/defects_config.json").write_text("[]")
    mark(root, "pushpins/ground_truth/structural_anomalies/000/000.png", levels=253)
    mark(root, "pushpins/ground_truth/logical_anomalies/000/000.png", levels=(255, 0))
    return mark(root, "pushpins/ground_truth/logical_anomalies/000/001.png", levels=(0, 251))


def real_iad(root: Path) -> Path:
    """An anomalous image in train, as noisy splits have, is left out."""
    ok, bad = "OK/S0001/usb_0001_OK_C1.png", "NG/HS/S0002/usb_0002_NG_HS_C1.png"
    entries = {
        "train": [(ok, "OK", None), ("NG/AK/S0003/usb_0003_NG_AK_C1.png", "AK", None)],
        "test": [(ok.replace("1", "4"), "OK", None), (bad, "HS", bad.replace(".png", "_mask.png"))],
    }
    draw(root, *(f"realiad_256/usb/{image}" for part in entries.values() for image, _, _ in part))
    mark(root, f"realiad_256/usb/{bad.replace('.png', '_mask.png')}")
    lists = {
        split: [{"category": "usb", "anomaly_class": k, "image_path": i, "mask_path": m} for i, k, m in part]
        for split, part in entries.items()
    }
    (root / "realiad_jsons/realiad_jsons").mkdir(parents=True)
    (root / "realiad_jsons/realiad_jsons/usb.json").write_text(json.dumps({"meta": {"normal_class": "OK"}} | lists))
    return root


def kolektor1(root: Path) -> Path:
    for number in range(1, 7):
        draw(root, f"kos0{number}/Part0.jpg", f"kos0{number}/Part1.jpg")
        mark(root, f"kos0{number}/Part0_label.bmp", levels=0)
        mark(root, f"kos0{number}/Part1_label.bmp", levels=number == 3)
    return root


def dagm(root: Path) -> Path:
    draw(root, *(f"Class1/{name}.PNG" for name in ("Train/0001", "Train/0002", "Test/0001", "Test/0003")))
    (root / "Class1/Test/Label").mkdir(parents=True)
    (root / "Class1/Test/Label/Labels.txt").write_text("1")
    return mark(root, "Class1/Train/Label/0002_label.PNG", "Class1/Test/Label/0003_label.PNG")


def aitex(root: Path) -> Path:
    draw(
        root, "Defect_images/0001_002_00.png", *(f"NODefect_images/2306881-210020u/010{n}_000_00.png" for n in range(5))
    )
    return mark(root, "Mask_images/0001_002_00_mask1.png", "Mask_images/0001_002_00_mask2.png")


TREES = {
    "mvtec_ad2": (
        mvtec_ad2, "mvtec_ad2", ["vial/train/good/000_regular", "vial/test/bad_regular/003_regular",
        "vial/test/bad_shift_1/002_shift_1", "vial/test/good/001_overexposed"],
    ),
    "mvtec_loco": (
        mvtec_loco, "mvtec_loco", ["pushpins/train/good/000", "pushpins/test/good/000",
        "pushpins/test/logical_anomalies/000", "pushpins/test/structural_anomalies/000"],
    ),
    "real_iad": (
        real_iad, "real_iad", ["usb/train/good/usb_0001_OK_C1", "usb/test/HS/usb_0002_NG_HS_C1",
        "usb/test/good/usb_0004_OK_C4"],
    ),
    "kolektorsdd": (
        kolektor1, "kolektorsdd", [*(f"kolektorsdd/train/good/kos0{n}_Part{p}" for n in (1, 3, 4, 5, 6) for p in (0, 1)
        if (n, p) != (3, 1)), "kolektorsdd/test/defect/kos03_Part1", "kolektorsdd/test/good/kos02_Part0",
        "kolektorsdd/test/good/kos02_Part1"],
    ),
    "dagm": (dagm, "dagm", ["Class1/train/good/0001", "Class1/test/defect/0003", "Class1/test/good/0001"]),
    "aitex": (
        aitex, "aitex", [*(f"fabric_00/train/good/2306881-210020u_010{n}_000_00" for n in (0, 1, 3, 4)),
        "fabric_00/test/defect_002/0001_002_00", "fabric_00/test/good/2306881-210020u_0102_000_00"],
    ),
    "magnetic_tile": (
        magnetic_tile, "magnetic_tile", [*(f"magnetic_tile/train/good/exp1_num_{n}" for n in (0, 2, 3, 4, 5)),
        "magnetic_tile/test/crack/exp2_num_9", "magnetic_tile/test/good/exp1_num_1"],
    ),
    "mpdd": (mpdd, "mvtec", ["tubes/train/good/000", "tubes/test/anomalous/002", "tubes/test/good/001"]),
    "btad": (
        btad, "btad", ["01/train/good/0000", "01/test/good/0001", "01/test/ko/0002", "03/train/good/0000",
        "03/test/ko/0003"],
    ),
    "visa_original": (
        publish_visa, "visa_original", [*(f"candle/train/good/000{n}" for n in (0, 3)), "candle/test/bad/000",
        "candle/test/good/0001", "pcb1/train/good/0000", "pcb1/test/bad/001", "pcb1/test/good/0002"],
    ),
    "kolektorsdd2": (
        kolektor, "kolektorsdd2", ["kolektorsdd2/train/good/10000", "kolektorsdd2/test/defect/20001",
        "kolektorsdd2/test/good/20000"],
    ),
    "split": (split, "folders", ["nut/train/good/0", "nut/test/burr/2", "nut/test/burr/22", "nut/test/good/1"]),
}  # fmt: skip


def ids(dataset: Dataset) -> list[str]:
    return [sample.id for sample in dataset.samples]


def check_masks(dataset: Dataset) -> None:
    """Every anomalous image has its two pixels marked, and a normal one none."""
    test = dataset.load("test", None, (4, 6))
    for label, mask in zip(test.defects, test.masks, strict=True):
        assert list(map(tuple, mask.nonzero().tolist())) == ([] if label == "good" else MARKED)


@pytest.mark.parametrize(("make", "layout", "expected"), TREES.values(), ids=TREES)
def test_a_layout_is_found_by_itself_and_read(tmp_path: Path, make: Make, layout: str, expected: list[str]) -> None:
    dataset = find_dataset(make(tmp_path / "data"))
    assert (dataset.layout, ids(dataset), dict(dataset.named_by)) == (layout, expected, {})
    check_masks(dataset)
    assert {problem.what for problem in verify(tmp_path / "data").problems} <= {"no normal test images"}


def test_conditions_are_named_and_come_with_the_images(tmp_path: Path) -> None:
    """Lights of MVTec AD 2 have normal images of their own, kinds of MVTec LOCO share them."""
    conditions = {
        mvtec_ad2: ("regular", "shift_1", "overexposed"),
        mvtec_loco: ("", "logical_anomalies", "structural_anomalies"),
    }
    for make, expected in conditions.items():
        assert find_dataset(make(tmp_path / make.__name__)).load("test", None, (4, 6)).conditions == expected


def test_plain_folders_hold_out_a_fifth_of_the_normal_images(tmp_path: Path) -> None:
    dataset = find_dataset(plain(tmp_path / "data"))
    assert dataset.layout == "folders"
    assert dataset.counts() == {"bolt": {"train": {"good": 8}, "test": {"good": 2, "scratch": 2, "dent": 1}}}
    assert {"bolt/test/scratch/0", "bolt/test/scratch/deep_0", "bolt/test/dent/7"} <= set(ids(dataset))
    check_masks(dataset)
    # One category by itself, wherever it lies, holds out the same images.
    shutil.copytree(tmp_path / "data/bolt", tmp_path / "other/bolt")
    assert ids(find_dataset(tmp_path / "other/bolt")) == ids(dataset)


def test_a_missing_mask_is_refused_unless_images_alone_have_labels(tmp_path: Path) -> None:
    root = plain(tmp_path / "data")
    (root / "bolt/dent/7_label.png").unlink()
    with pytest.raises(UserError, match=r"no mask for .*dent/7.jpg.*; add it, or do without all masks by --labels"):
        find_dataset(root)
    (problem,) = verify(root).problems
    assert (problem.path, problem.what) == ("bolt/dent/7.jpg", "no mask in dent")
    before = find_dataset(root, labels="image")
    assert dict(before.named_by) == {"labels": "image"} and not before.load("test", None, (4, 6)).masks.any()
    assert not any(sample.masks for sample in before.samples)
    # Where there is no mask at all, nobody has to say so.
    for mask in root.glob("bolt/scratch/**/0_*.png"):
        mask.unlink()
    assert find_dataset(root).labels == "image" and verify(root).problems == ()
    with pytest.raises(UserError, match="no mask for"):
        find_dataset(root, labels="pixel")


def test_a_changed_mask_of_kolektorsdd2_changes_the_label(tmp_path: Path) -> None:
    root = kolektor(tmp_path / "data")
    assert find_dataset(root).counts()["kolektorsdd2"]["test"] == {"good": 1, "defect": 1}
    mark(root, "test/20000_GT.png")
    assert find_dataset(root).counts()["kolektorsdd2"]["test"] == {"defect": 2}
    (root / "test/20000_GT.png").unlink()
    with pytest.raises(UserError, match=r"no mask for .*20000.png: expected .*20000_GT.png"):
        find_dataset(root)


@pytest.mark.parametrize(("value", "why"), [(0, "none marks anything; obtain them again"), (40, "in 6 JPEG files")])
def test_masks_that_tell_no_labels_are_refused(tmp_path: Path, value: int, why: str) -> None:
    root = kolektor1(tmp_path / "data")
    for label in root.rglob("*_label.bmp"):
        Image.new("L", (6, 4), value * (label.stem == "Part1_label") // 2).save(label, "JPEG")
    with pytest.raises(UserError, match=f"cannot tell normal images from others by the 12 masks in .*: .*{why}"):
        find_dataset(root)


LACKING = {
    "btad without ko": (btad, ("01/test/ko", "03"), "looks like BTAD: expected 01/test/ko, found .*01/test/ok.* only"),
    "visa without a table": (publish_visa, ("split_csv",), "VisA as downloaded, expected split_csv/1cls.csv"),
    "kolektor without test": (kolektor, ("test",), "KolektorSDD2: expected test/[*]_GT.png, found train/[*]_GT.png"),
    "tiles without defects": (magnetic_tile, ("MT_Crack",), "tile data set: expected MT_<defect>/Imgs, found MT_Free"),
    "plain without defects": (
        plain, ("bolt/scratch", "bolt/dent"), "plain folders: expected one of anomalous images beside OK, found OK",
    ),
    "ad2 without its public test": (mvtec_ad2, ("vial/test_public",), "AD 2: expected vial/test_public/good and vial/"),
    "loco without train": (mvtec_loco, ("pushpins/train",), "MVTec LOCO: expected pushpins/train/good$"),
    "real-iad without tables": (real_iad, ("realiad_jsons",), "expected realiad_jsons/.*.json, found realiad_256 only"),
    "dagm without test": (dagm, ("Class1/Test",), "DAGM: expected Class1/Test$"),
    "aitex without normals": (
        aitex, ("NODefect_images",), "AITEX: expected NODefect_images, found Defect_images, Mask_images only",
    ),
}  # fmt: skip
INSIDE = {
    "btad's category": (btad, "01", "this is one category of BTAD, try its parent folder"),
    "mvtec's category": (mpdd, "tubes", "this is one category, try its parent folder"),
    "its test": (mpdd, "tubes/test", "this is a part of one category, try the folder of all categories"),
    "ad2's category": (mvtec_ad2, "vial", "this is one category of MVTec AD 2, try its parent folder"),
    "loco's category": (mvtec_loco, "pushpins", "this is one category of MVTec LOCO, try its parent folder"),
    "a folder above": (btad, "..", "try .*data$"),
}


@pytest.mark.parametrize(
    ("make", "without", "place", "message"),
    [
        *((make, without, ".", message) for make, without, message in LACKING.values()),
        *((make, (), place, message) for make, place, message in INSIDE.values()),
    ],
    ids=[*LACKING, *INSIDE],
)
def test_a_folder_that_almost_matches_is_told_what_it_lacks(
    tmp_path: Path, make: Make, without: tuple[str, ...], place: str, message: str
) -> None:
    root = make(tmp_path / "data")
    for part in without:
        shutil.rmtree(root / part)
    with pytest.raises(UserError, match=message) as raised:
        find_dataset((root / place).resolve())
    assert "\n" not in str(raised.value)


def written(path: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_text((root / path).read_text().replace(old, new)) and None


def listed(root: Path, image: str, mask: str) -> None:
    """One more defect of VisA, in its folders and in its table."""
    paths = f"candle/Data/Images/Anomaly/{image}.JPG", f"candle/Data/Masks/Anomaly/{mask}.png"
    with (draw(mark(root, paths[1]), paths[0]) / "split_csv/1cls.csv").open("a") as table:
        table.write(f"candle,test,anomaly,{','.join(paths)}\n")


SLIPS: dict[str, tuple[Make, Callable[[Path], object], str, str]] = {
    "a defect of DAGM that its table lists, without a mask": (
        dagm, written("Class1/Test/Label/Labels.txt", "1", "1\n1\t1\t0001.PNG\t0\t0001_label.PNG\n"),
        "Class1/Test/0001.PNG", "no mask in Test/Label",
    ),
    "a public test folder of MVTec AD 2 that is none": (
        mvtec_ad2, lambda root: draw(root, "vial/test_public/ugly/0.png"), "vial/test_public/ugly/0.png", "not read",
    ),
    "a label of KolektorSDD without its image": (
        kolektor1, lambda root: (root / "kos04/Part1.jpg").unlink(), "kos04/Part1_label.bmp", "mask without an image",
    ),
    "a row of VisA that is lost": (
        publish_visa, written("split_csv/1cls.csv", "candle,train,normal,candle/Data/Images/Normal/0003.JPG,\n", ""),
        "candle/Data/Images/Normal/0003.JPG", "not read",
    ),
    "a mask of another name in VisA's table": (
        publish_visa, lambda root: [listed(root, *pair) for pair in (("a", "a"), ("x", "c"))],
        "candle/Data/Masks/Anomaly/c.png", "the mask of candle/Data/Images/Anomaly/x.JPG, whose name it does not have",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "damage", "path", "what"), SLIPS.values(), ids=SLIPS)
def test_what_slips_through_a_layout_is_named(
    tmp_path: Path, make: Make, damage: Callable[[Path], object], path: str, what: str
) -> None:
    root = make(tmp_path / "data")
    assert not any(what in one.what for one in verify(root).problems)
    damage(root)
    found = verify(root)
    assert [one.path for one in found.problems + found.warnings if what in one.what] == [path]


def test_a_class_of_dagm_without_labels_is_refused(tmp_path: Path) -> None:
    shutil.rmtree(dagm(tmp_path) / "Class1/Test/Label")
    with pytest.raises(UserError, match=r"no folder .*Class1/Test/Label, which tells defective images from others; ad"):
        find_dataset(tmp_path)


def test_what_lies_in_mvtec_ads_layout_is_taken_for_no_other(tmp_path: Path) -> None:
    """Its defects may be called as other layouts call theirs."""
    root = mpdd(tmp_path / "data")
    for label in ("ko", "ok", "normal"):
        draw(root, f"tubes/test/{label}/0.png")
        mark(root, f"tubes/ground_truth/{label}/0_mask.png")
    # What else lies beside is no reason either.
    draw(root, "scraps/test/ok/0.png", "more/good/0.png", "raw/Data/Images/Normal/0.png")
    dataset = find_dataset(root, ["tubes"])
    assert dataset.layout == "mvtec" and set(dataset.counts()["tubes"]["test"]) == {
        "anomalous", "good", "ko", "normal", "ok",
    }  # fmt: skip


def test_a_reader_that_is_named_decides(tmp_path: Path) -> None:
    root = split(tmp_path / "data")
    named = find_dataset(root, reader="folders")
    assert dict(named.named_by) == {"reader": {"name": "folders"}} and ids(named) == ids(find_dataset(root))
    with pytest.raises(UserError, match=r"looked for <category>/train/ok/.* to be read by btad; found nut/"):
        choose_reader(root, "btad")
    with pytest.raises(UserError, match="did you mean 'folders'"):
        choose_reader(root, "folder")


def given(root: Path, **changes: object) -> Reader:
    """A reader of one sample with changes, whose files are drawn."""

    def place(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(map(place, value))
        return root / value if isinstance(value, Path) else value

    draw(root, "a.png")
    mark(root, "m.png")
    values = {"image": Path("a.png"), "category": "disc", "split": "test", "label": "hole", "masks": (Path("m.png"),)}
    sample = Sample(**{key: place(value) for key, value in {**values, **changes}.items()})  # type: ignore[arg-type]
    return Reader(matches=lambda _: True, read=lambda _: [sample])


def test_several_masks_of_an_image_are_united(tmp_path: Path) -> None:
    other = np.zeros((4, 6), np.uint8)
    other[0, 0] = 1
    save(tmp_path / "other.png", other)
    reader = given(tmp_path, masks=(Path("m.png"), Path("other.png")))
    dataset = find_dataset(tmp_path, reader=reader)
    assert dataset.load("test", None, (4, 6)).masks[0].nonzero().tolist() == [[0, 0], [2, 1], [2, 2]]
    assert set(dataset.digests("test", ["disc"])) == {"a.png", "m.png", "other.png"}
    assert verify(tmp_path, reader=reader).layout == "given"


def test_a_label_that_stands_in_no_path_is_in_the_keys(tmp_path: Path) -> None:
    before, after = (find_dataset(tmp_path, reader=given(tmp_path, label=label)) for label in ("hole", "burr"))
    assert before.fingerprint == after.fingerprint
    assert before.digests("test", ["disc"]) != after.digests("test", ["disc"])


MISTAKES = {
    "another folder": ({"image": Path("/a.png")}, "does not lie in"),
    "an upward path": ({"image": Path("up/../a.png")}, "does not lie in"),
    "no file": ({"masks": (Path("lost"),)}, "where there is no file"),
    "a path as text": ({"image": "a.png"}, "expected image and masks as paths"),
    "one mask": ({"masks": Path("m.png")}, "expected image and masks as paths"),
    "a deep category": ({"category": "a/b"}, "expected the category of .* as the name of a folder, got 'a/b'"),
    "a label that escapes": ({"label": ".."}, "expected the label"),
    "a label for a terminal": ({"label": "a\x1b[2J"}, "expected the label"),
    "another split": ({"split": "validation"}, "as train or test, got 'validation'"),
    "a marked normal image": ({"label": "good"}, "is good and has a mask"),
    "an anomaly to train on": ({"split": "train"}, "is hole and to be trained on"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_a_reader_from_elsewhere_gives_is_checked(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        scan(tmp_path, reader=given(tmp_path, **changes))
    assert "\n" not in str(raised.value) and "reader given" in str(raised.value)


def test_a_reader_that_fails_is_one_line(tmp_path: Path) -> None:
    def fail(_: Path) -> list[Sample]:
        raise KeyError("two\nlines")

    draw(tmp_path, "a.png")
    with pytest.raises(UserError, match=r"reader given failed to read .*: KeyError: .*two.*lines"):
        scan(tmp_path, reader=Reader(matches=lambda _: True, read=fail))
    with pytest.raises(UserError, match=r"no data set in .*: looked for what its reader matches, .* found a.png"):
        scan(tmp_path, reader=Reader(matches=lambda _: False, read=fail))
    with pytest.raises(UserError, match="expected samples of omnial_bench's Sample, got str"):
        scan(tmp_path, reader=Reader(matches=lambda _: True, read=lambda _: ["a.png"]))  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "cannot read .*usb.json as lists of train and test"),
        ('{"train": [], "test": [7]}', "expected anomaly_class, image_path and mask_path, got 7; mend it"),
        (
            '{"train": [], "test": [{"anomaly_class": "OK", "image_path": "../a.png"}]}',
            "names '../a.png', which is not",
        ),
        ('{"train": [], "test": [{"anomaly_class": "a/b", "image_path": "a.png"}]}', "expected anomaly_class"),
    ],
)
def test_a_table_of_real_iad_that_is_none_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    root = real_iad(tmp_path / "data")
    (root / "realiad_jsons/realiad_jsons/usb.json").write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        find_dataset(root)
    assert "\n" not in str(raised.value)


def test_real_iad_in_two_sizes_is_refused(tmp_path: Path) -> None:
    root = real_iad(tmp_path / "data")
    (root / "realiad_512").mkdir()
    with pytest.raises(UserError, match="several sizes, realiad_256, realiad_512: keep one"):
        find_dataset(root)


def test_a_reader_of_the_users_goes_to_other_processes() -> None:
    layout = Reader(matches=Path.is_dir, read=Path.iterdir)
    again = pickle.loads(pickle.dumps(layout))
    assert again == layout and again.hint(Path()) == "" and again.mask_of(None) == "one from its reader"
