"""The data sets known by name: categories, counts, licence, home page, archive, foreground rules. No torch here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ForegroundRule:
    """How the object is told from its background in a normal image; `whole` takes every pixel, and `auto` what the
    images themselves tell (`synthesis.automatic`).

    The threshold is Otsu's, the outer one of Otsu's with three classes (which leaves a cast shadow out), or the
    triangle method's, on one channel; `side` is the side of it that the object lies on.
    Afterwards, in this order: a closing, then an opening with a square of that many pixels (of an image 256 pixels
    high; 0 leaves it out), filling of holes, and keeping of the largest part alone.
    """

    method: Literal["otsu", "multi_otsu", "triangle", "whole", "auto"] = "whole"
    side: Literal["dark", "bright"] = "dark"
    channel: Literal["grey", "blue"] = "grey"
    close: int = 0
    open: int = 0
    fill_holes: bool = False
    largest: bool = False


@dataclass(frozen=True)
class Category:
    """One class of a data set with its published counts of images; None where any number is right."""

    kind: Literal["object", "texture"]
    foreground: ForegroundRule
    train: int | None = None
    test_good: int | None = None
    test_defect: int | None = None


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The one file that a data set is published as, with all that must be known of it before it is fetched.

    `name` is what `data download` takes, `file` the file's published name, `digest` its hash after the algorithm's
    name and a colon, `size` its length in bytes, `terms` the page to read before the licence is accepted. Of what is
    inside, `top` is the folder that holds everything (empty where there is none), and `split` the table by which raw
    images are brought into the one-class layout (empty where they lie in their layout already).
    """

    name: str
    file: str
    url: str
    digest: str
    size: int
    terms: str
    top: str = ""
    split: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One known data set, or source of texture images, which has no categories and no layout."""

    name: str
    title: str
    url: str
    """Home page, from where it is obtained; empty for the data set that is drawn by code."""
    licence: str
    notice: str
    """The line that a figure with its images must carry."""
    layout: str = ""
    """The name of its reader."""
    categories: Mapping[str, Category] = field(default_factory=dict)
    archive: Archive | None = None


def _object(rule: ForegroundRule, *counts: int) -> Category:
    """With training, normal test and anomalous test images, where they are published."""
    return Category("object", rule, *counts)


def _texture(*counts: int) -> Category:
    return Category("texture", WHOLE, *counts)


WHOLE = ForegroundRule()
AUTO = ForegroundRule(method="auto")
_MVTEC = partial(ForegroundRule, close=6, open=6)
_VISA_BRIGHT = ForegroundRule(method="otsu", side="bright", close=3, open=3)
_VISA_BOARD = ForegroundRule(method="triangle", side="bright", channel="blue", close=8, open=3)

# Counts: Bergmann et al., CVPR 2019, Table 1. Rules: the public recipes for this data set, brought to one form.
# The authors' share moves from time to time and the file stays the same: the hash is the one that public loaders check.
MVTEC_AD = Entry(
    name="mvtec_ad",
    title="MVTec AD",
    url="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    licence="CC BY-NC-SA 4.0",
    notice="Images: MVTec AD (Bergmann et al., CVPR 2019), CC BY-NC-SA 4.0",
    layout="mvtec",
    archive=Archive(
        name="mvtec",
        file="mvtec_anomaly_detection.tar.xz",
        url="https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/420938113-1629960298/"
        "mvtec_anomaly_detection.tar.xz",
        digest="sha256:cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
        size=5_264_982_680,
        terms="https://creativecommons.org/licenses/by-nc-sa/4.0/",
    ),
    categories={
        "bottle": _object(_MVTEC(method="otsu", fill_holes=True, largest=True), 209, 20, 63),
        "cable": _object(WHOLE, 224, 58, 92),
        "capsule": _object(_MVTEC(method="otsu", fill_holes=True), 219, 23, 109),
        "carpet": _texture(280, 28, 89),
        "grid": _texture(264, 21, 57),
        "hazelnut": _object(_MVTEC(method="triangle", side="bright", fill_holes=True), 391, 40, 70),
        "leather": _texture(245, 32, 92),
        "metal_nut": _object(_MVTEC(method="triangle", side="bright"), 220, 22, 93),
        "pill": _object(_MVTEC(method="otsu", side="bright", fill_holes=True), 267, 26, 141),
        "screw": _object(_MVTEC(method="multi_otsu", fill_holes=True), 320, 41, 119),
        "tile": _texture(230, 33, 84),
        "toothbrush": _object(_MVTEC(method="triangle", side="bright"), 60, 12, 30),
        "transistor": _object(AUTO, 213, 60, 40),
        "wood": _texture(247, 19, 60),
        "zipper": _object(_MVTEC(method="otsu"), 240, 32, 119),
    },
)

# Counts: the official one-class split (8,659 train, 962 normal and 1,200 anomalous test images).
VISA = Entry(
    name="visa",
    title="VisA",
    url="https://github.com/amazon-science/spot-diff",
    licence="CC BY 4.0",
    notice="Images: VisA (Zou et al., ECCV 2022), CC BY 4.0",
    layout="visa",
    archive=Archive(
        name="visa",
        file="VisA_20220922.tar",
        url="https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
        digest="sha256:2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
        size=1_929_840_640,
        terms="https://creativecommons.org/licenses/by/4.0/",
        split="split_csv/1cls.csv",
    ),
    categories={
        "candle": _object(_VISA_BRIGHT, 900, 100, 100),
        "capsules": _object(WHOLE, 542, 60, 100),
        "cashew": _object(_VISA_BRIGHT, 450, 50, 100),
        "chewinggum": _object(_VISA_BRIGHT, 453, 50, 100),
        "fryum": _object(_VISA_BRIGHT, 450, 50, 100),
        "macaroni1": _object(_VISA_BRIGHT, 900, 100, 100),
        "macaroni2": _object(_VISA_BRIGHT, 900, 100, 100),
        "pcb1": _object(_VISA_BOARD, 904, 100, 100),
        "pcb2": _object(_VISA_BOARD, 901, 100, 100),
        "pcb3": _object(_VISA_BOARD, 905, 101, 100),
        "pcb4": _object(_VISA_BOARD, 904, 101, 100),
        "pipe_fryum": _object(_VISA_BRIGHT, 450, 50, 100),
    },
)

TOY = Entry(
    name="toy",
    title="Toy",
    url="",
    licence="Apache-2.0",
    notice="Images: drawn by omnial-bench, no photographs",
    layout="mvtec",
    categories={
        "cap": _object(ForegroundRule(method="otsu", side="dark", fill_holes=True, largest=True)),
        "gear": _object(ForegroundRule(method="otsu", side="bright", close=6, open=6)),
        "brushed": _texture(),
        "weave": _texture(),
    },
)

# No counts a category are published by the authors of the first two; those of KolektorSDD2 leave out the anomalous
# training images, and those of the magnetic tiles are what the split by hashes makes of 952 free ones.
MPDD = Entry(
    name="mpdd",
    title="MPDD",
    url="https://github.com/stepanje/MPDD",
    licence="CC BY-NC-SA 4.0",
    notice="Images: MPDD (Jezek et al., ICUMT 2021), CC BY-NC-SA 4.0",
    layout="mvtec",
    categories={
        name: _object(AUTO)
        for name in ("bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes")
    },
)
BTAD = Entry(
    name="btad",
    title="BTAD",
    url="https://avires.dimi.uniud.it/papers/btad/btad.zip",
    licence="CC BY-SA 4.0",
    notice="Images: BTAD (Mishra et al., ISIE 2021), CC BY-SA 4.0",
    layout="btad",
    categories={name: _object(AUTO) for name in ("01", "02", "03")},
)
KOLEKTORSDD2 = Entry(
    name="kolektorsdd2",
    title="KolektorSDD2",
    url="https://www.vicos.si/resources/kolektorsdd2/",
    licence="CC BY-NC-SA 4.0",
    notice="Images: KolektorSDD2 (Bozic et al., Computers in Industry 129, 2021), CC BY-NC-SA 4.0",
    layout="kolektorsdd2",
    categories={"kolektorsdd2": _texture(2085, 894, 110)},
)
MAGNETIC_TILE = Entry(
    name="magnetic_tile",
    title="Magnetic tile defects",
    url="https://github.com/abin24/Magnetic-tile-defect-datasets.",
    licence="none stated",
    notice="Images: magnetic tile defects (Huang et al., The Visual Computer 36, 2020)",
    layout="magnetic_tile",
    categories={"magnetic_tile": _texture(762, 190, 392)},
)

# 5,640 images in images/<class>/ (Cimpoi et al., CVPR 2014).
DTD = Entry(
    name="dtd",
    title="Describable Textures Dataset",
    url="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    licence="research purposes only",
    notice="Textures: DTD (Cimpoi et al., CVPR 2014)",
    archive=Archive(
        name="dtd",
        file="dtd-r1.0.1.tar.gz",
        url="https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
        digest="sha256:e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
        size=625_239_812,
        terms="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        top="dtd",
    ),
)

CATALOG: Mapping[str, Entry] = {
    entry.name: entry for entry in (MVTEC_AD, VISA, MPDD, BTAD, KOLEKTORSDD2, MAGNETIC_TILE, TOY)
}
TEXTURES: Mapping[str, Entry] = {DTD.name: DTD}


def obtainable() -> dict[str, Entry]:
    """What has an archive, by its own name and by that of its archive."""
    entries = (*CATALOG.values(), *TEXTURES.values())
    return {name: entry for entry in entries if entry.archive for name in (entry.archive.name, entry.name)}


def foreground_rule(dataset: str, category: str) -> ForegroundRule:
    """The rule for a category; the automatic one where the data set or the category is not in the catalogue."""
    known = CATALOG[dataset].categories if dataset in CATALOG else {}
    return known[category].foreground if category in known else AUTO


def guess_name(categories: Iterable[str]) -> str:
    """The known data set that all these categories belong to, or `custom`."""
    wanted = set(categories)
    names = (entry.name for entry in CATALOG.values() if wanted and wanted <= entry.categories.keys())
    return next(names, "custom")
