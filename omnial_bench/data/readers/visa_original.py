"""VisA as its authors publish it, read where it lies by the table of its one-class split; see `data.visa`.

`<category>/Data/Images/{Normal,Anomaly}`, `<category>/Data/Masks/Anomaly`, and `split_csv/1cls.csv`. Ids are those of
the one-class layout that `data download visa` makes of it.
"""

from collections.abc import Iterator
from pathlib import Path

from omnial_bench.data.readers import mvtec
from omnial_bench.data.readers.base import Reader, Sample, folders
from omnial_bench.data.visa import SPLIT, planned_moves


def _is_published(root: Path) -> bool:
    return any((path / "Data" / "Images").is_dir() for path in folders(root))


def matches(root: Path) -> bool:
    return (root / SPLIT).is_file() and _is_published(root)


def read(root: Path) -> Iterator[Sample]:
    moves = planned_moves(root)
    masks = {(move.target.parts[0], move.target.stem): root / move.source for move in moves if move.is_mask}
    for move in moves:
        if move.is_mask:
            continue
        category, split, label, _ = move.target.parts
        mask = masks.get((category, move.target.stem)) if label == "bad" else None
        yield Sample(
            image=root / move.source, category=category, split="train" if split == "train" else "test", label=label,
            masks=() if mask is None else (mask,),
        )  # fmt: skip


def hint(root: Path) -> str:
    if not _is_published(root) or mvtec.claims(root):
        return ""
    return (
        f"this is VisA as downloaded, expected {SPLIT} in it; add the table, or omnial-bench data download visa brings "
        "it to the one-class layout"
    )


READER = Reader(
    matches=matches, read=read, hint=hint,
    looked_for=f"<category>/Data/Images/{{Normal,Anomaly}}/*, <category>/Data/Masks/Anomaly/* and {SPLIT}",
    left_alone=(),
)  # fmt: skip
