import logging
from pathlib import Path

import pytest
from small_images import MARKED, VISA, publish_visa

from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.readers.visa import one_class
from omnial_bench.data.verify import verify
from omnial_bench.errors import UserError

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_official_table_decides_where_a_image_lies(tmp_path: Path) -> None:
    raw = publish_visa(tmp_path / "raw")
    bytes_before = {path.read_bytes() for path in raw.rglob("*") if path.suffix in (".JPG", ".png")}
    assert one_class(raw, tmp_path / "out") == 7
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {
        "candle/train/good/0000.JPG", "candle/train/good/0003.JPG", "candle/test/good/0001.JPG",
        "candle/test/bad/000.JPG", "candle/ground_truth/bad/000.png", "pcb1/train/good/0000.JPG",
        "pcb1/test/good/0002.JPG", "pcb1/test/bad/001.JPG", "pcb1/ground_truth/bad/001.png", "LICENSE-DATASET",
        "split_csv/1cls.csv",
    }  # fmt: skip
    assert bytes_before == {p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.suffix in (".JPG", ".png")}


def test_the_result_is_read_as_what_was_published_is(tmp_path: Path) -> None:
    raw = publish_visa(tmp_path / "raw")
    before = find_dataset(raw)
    shown = before.load("test", None, (4, 6))
    one_class(raw, tmp_path / "out")
    after = find_dataset(tmp_path / "out")
    assert (before.name, before.layout) == ("visa", "visa_original")
    assert (after.name, after.layout, after.categories) == ("visa", "visa", ("candle", "pcb1"))
    assert [sample.id for sample in after.samples] == [sample.id for sample in before.samples]
    masks = after.load("test", None, (4, 6)).masks
    assert (masks == shown.masks).all()
    # Every number of a class is anomalous.
    assert list(map(tuple, masks[0].nonzero().tolist())) == MARKED and not masks[1].any()
    checked = verify(tmp_path / "out")
    assert checked.problems == ()
    assert [(c.train, c.test_good, c.test_defect) for c in checked.counts] == [(2, 1, 1), (1, 1, 1)]


def test_images_of_no_split_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = "".join(line for line in VISA.splitlines(keepends=True) if "0003" not in line)
    with caplog.at_level(logging.WARNING):
        assert one_class(publish_visa(tmp_path / "raw", table), tmp_path / "out") == 6
    assert "1 images" in caplog.text and not (tmp_path / "out/candle/train/good/0003.JPG").exists()


NORMAL = "candle,train,normal,candle/Data/Images/Normal/0003.JPG,"
DEFECT = "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png"
MISTAKES = {
    "an image that is not there": (NORMAL, NORMAL.replace("0003", "0999"), "0999.JPG, which is not in"),
    "a mask that is not there": (DEFECT, DEFECT.replace("000.png", "777.png"), "777.png, which is not in"),
    "a defect without a mask": (DEFECT, DEFECT.rsplit(",", 1)[0] + ",", "has the mask ''"),
    "an image outside": (NORMAL, "candle,train,normal,../raw/LICENSE-DATASET,", "expected a path inside"),
    "an absolute image": (NORMAL, "candle,train,normal,/etc/passwd,", "expected a path inside"),
    "a mask outside": (DEFECT, DEFECT.rsplit(",", 1)[0] + ",../../etc/passwd", "expected a path inside"),
    "a category outside": (NORMAL, NORMAL.replace("candle,", "../candle,", 1), "expected the name of a folder"),
    "a deep category": (NORMAL, NORMAL.replace("candle,", "a/candle,", 1), "expected the name of a folder"),
    "a hidden category": (NORMAL, NORMAL.replace("candle,", ".candle,", 1), "expected the name of a folder"),
    "no category": (NORMAL, NORMAL.replace("candle,", ",", 1), "expected the name of a folder"),
    "a defect to train on": (DEFECT, DEFECT.replace("test", "train"), "says 'train' 'anomaly'; expected train normal"),
    "an unknown split": (NORMAL, NORMAL.replace("train", "val"), "says 'val' 'normal'"),
    "an image in both splits": (NORMAL, NORMAL + "\n" + NORMAL.replace("train", "test"), "0003.JPG twice"),
    "two images in one place": (
        NORMAL, NORMAL + "\n" + NORMAL.replace("Normal", "Anomaly").replace("0003", "000") + "\n"
        + "candle,train,normal,pcb1/Data/Images/Normal/0000.JPG,", "one place",
    ),
    "a short row": (NORMAL, "candle,train", "row 2 of .* has 2 columns"),
    "other columns": ("object,split", "category,split", "has the columns category,split"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_table_moves_nothing(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in VISA
    raw = publish_visa(tmp_path / "raw", VISA.replace(old, new))
    before = sorted(raw.rglob("*"))
    with pytest.raises(UserError, match=message) as raised:
        one_class(raw, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert sorted(raw.rglob("*")) == before and not (tmp_path / "out").exists()


def test_a_table_that_cannot_be_read_and_one_of_other_line_ends_that_can(tmp_path: Path) -> None:
    raw = publish_visa(tmp_path / "raw")
    table = raw / "split_csv/1cls.csv"
    for content, message in [
        (VISA.splitlines()[0].encode(), "names no images"),
        (b"", "has the columns ;"),
        (b"\xff\xfe\0", "cannot read .* as a table"),
        (VISA.encode() + b'"' + b"x" * 200_000, "cannot read .* as a table"),
    ]:
        table.write_bytes(content)
        with pytest.raises(UserError, match=message):
            one_class(raw, tmp_path / "out")
    table.write_bytes(b"\xef\xbb\xbf" + VISA.encode().replace(b"\n", b"\r\n"))
    assert len(find_dataset(raw).samples) == 7
    table.unlink()
    with pytest.raises(UserError, match="no split table at"):
        one_class(raw, tmp_path / "out")


@pytest.mark.parametrize("linked", ["candle/Data/Images/Normal/0003.JPG", "candle/Data/Images/Normal"])
def test_a_link_is_no_image_and_a_folder_behind_one_is_not_emptied(tmp_path: Path, linked: str) -> None:
    raw, elsewhere = publish_visa(tmp_path / "raw"), tmp_path / "elsewhere"
    (raw / linked).rename(elsewhere)
    (raw / linked).symlink_to(elsewhere)
    before = sorted(raw.rglob("*")), sorted(elsewhere.rglob("*"))
    with pytest.raises(UserError, match="which is not in"):
        one_class(raw, tmp_path / "out")
    assert (sorted(raw.rglob("*")), sorted(elsewhere.rglob("*"))) == before
