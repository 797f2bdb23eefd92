"""Damaged and hostile files, drawn by hypothesis: each is read right or refused in one line, never anything else."""

import copy
import hashlib
import io
import itertools
import json
import os
import shutil
import struct
import tempfile
import tomllib
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

import numpy as np
import pytest
import tomli_w
import torch
from fake_run import fake_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from PIL import Image

from omnial_bench.attacks.sets import manifest
from omnial_bench.attacks.sets.png import read_png, write_png
from omnial_bench.config.load import read_detector, read_plan, read_recipe, read_suite, records_folder
from omnial_bench.config.schema import MOST, Recipe
from omnial_bench.data.decode import read_image
from omnial_bench.data.levels import measure, read_levels
from omnial_bench.errors import UserError, is_printable
from omnial_bench.io.whole import sha256
from omnial_bench.models import checkpoint
from omnial_bench.models.registry import build
from omnial_bench.reports import baseline, categories, gate, headline, making, origins, table
from omnial_bench.reports.table import Table, to_csv, to_latex, to_markdown
from omnial_bench.reports.values import Values
from omnial_bench.reports.verdicts import judge
from omnial_bench.results import COLUMNS, KEY, LOGGED, read_logs, read_rows, write_rows

# Hypothesis keeps tables of its own even without a database: not in the tree.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "omnial-bench-hypothesis")

T = TypeVar("T")
Document = dict[str, Any]


def fuzz(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same inputs on every run, as many as named, half of them unless tortured; nothing is kept between runs."""
    return settings(
        max_examples=examples if "TORTURE" in os.environ else examples // 2,
        derandomize=True, deadline=None, database=None, print_blob=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def read(function: Callable[..., T], *arguments: Any, **keywords: Any) -> T | None:
    """What the function gives, or None where it refuses in one line; any other exception is a bug."""
    try:
        return function(*arguments, **keywords)
    except UserError as error:
        # No line ends, and nothing that a terminal acts on.
        assert is_printable(str(error)) and str(error), f"not one line: {error!r}"
        return None


WORDS = [
    "", " ", "a", "draem", "mean", "none", "nan", "../../up", "/etc/passwd", "a/../b", "C:\\x", "a\nb", "a\r\nb",
    "\x00", "\x1b[31m", "\u2028", "\u202e", "é", "名", "<script>alert(1)</script>", "a|b", "`$(x)`", "{{ 7*7 }}",
    "__class__", "%s%n", "8/255", "1/0", "-1", "1e999", "9" * 400, "x" * 300, "nowhere.module:factory", ":",
    "a:", "{0.__class__}",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 7, 32, 33, 255, 4096, 2**31, 2**63 - 1, 2**63, 2**70, -(2**63) - 1, 0.0, 0.5, -0.0, 1e-320, 1e308,
    float("inf"), float("-inf"), float("nan"), True, False,
]  # fmt: skip
scalars = st.sampled_from(WORDS) | st.sampled_from(NUMBERS) | st.text(max_size=8) | st.integers() | st.floats()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=4,
)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside a document."""
    for key in document if isinstance(document, dict) else range(len(document)):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from places(document[key])


@st.composite
def changed(draw: st.DrawFn, valid: Document, drawn: st.SearchStrategy[Any] = values) -> Document:
    """A valid document with one to three entries replaced, removed, renamed, doubled, or copied from elsewhere."""
    document = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        there = list(places(document))
        if not there:
            break
        container, key = there[draw(st.integers(0, len(there) - 1))]
        what = draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename", "copy", "wrap"]))
        if what == "replace":
            container[key] = copy.deepcopy(draw(drawn))
        elif what == "remove":
            del container[key]
        elif what == "rename" and isinstance(container, dict):
            container[draw(st.sampled_from(WORDS))] = container.pop(key)
        elif what == "copy":
            other, place = there[draw(st.integers(0, len(there) - 1))]
            container[key] = copy.deepcopy(other[place])
        elif what == "wrap":
            container[key] = [container[key]] * draw(st.integers(0, 3))
    return document


@st.composite
def torn(draw: st.DrawFn, valid: bytes) -> bytes:
    """Valid bytes that were cut, doubled, overwritten or had bits turned."""
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(content))), draw(st.integers(0, 40))
        what = draw(st.sampled_from(["turn", "turn", "cut", "end", "insert", "double", "overwrite"]))
        if what == "turn" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "cut":
            del content[at : at + length]
        elif what == "end":
            del content[at:]
        elif what == "insert":
            content[at:at] = draw(st.binary(max_size=12))
        elif what == "double":
            content[at:at] = content[at : at + length]
        elif what == "overwrite":
            content[at : at + length] = (
                draw(st.sampled_from([b"\x00", b"\xff", b"[", b'"', b"{", b"\n", b"9"])) * length
            )
    return bytes(content)


def documents(valid: Document, write: Callable[[Document], bytes]) -> st.SearchStrategy[bytes]:
    """Files: documents with changed entries, the text of a valid one torn, and noise."""
    return changed(valid).map(write) | changed(valid).map(write) | torn(write(valid)) | st.binary(max_size=60)


def toml(document: Document) -> bytes:
    # A lone half of a surrogate pair cannot be written; as a file it is noise.
    return tomli_w.dumps(document).encode("utf-8", "surrogatepass")


def dump(document: Document) -> bytes:
    return json.dumps(document).encode()


# Records.

SUITE = tomllib.loads((records_folder("attacks") / "paper.toml").read_text(encoding="utf-8"))
PLAN = tomllib.loads((records_folder("plans") / "visa.toml").read_text(encoding="utf-8"))
DETECTOR = tomllib.loads((records_folder("models") / "draem.toml").read_text(encoding="utf-8"))
HEIR = {"base": "draem", "title": "Heir", "options": {"panels": True, "width": 4}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@fuzz(450)
@given(content=documents(SUITE, toml))
def test_suites(place: Path, content: bytes) -> None:
    found = read(read_suite, str(put(place / "suite.toml", content)))
    if found is not None:
        names = [threat.name for threat in found.threats]
        assert len(set(names)) == len(names) and "clean" not in names
        assert all(0 <= threat.eps <= 1 and threat.steps >= 1 for threat in found.threats)
        assert not any("/" in name or "\n" in name for name in names), "threats name folders"


@fuzz(450)
@given(content=documents(PLAN, toml))
def test_plans(place: Path, content: bytes) -> None:
    found = read(read_plan, str(put(place / "plan.toml", content)))
    if found is not None:
        assert found.categories and found.detectors and 0 <= found.seed < 2**31
        assert found.size is None or all(32 <= side <= 4096 for side in found.size)
        assert type(found)(**found.model_dump()) == found


@fuzz(450)
@given(content=documents(DETECTOR, toml) | documents(HEIR, toml))
def test_detectors(place: Path, content: bytes) -> None:
    path = str(put(place / "detector.toml", content))
    found = read(read_detector, path)
    if found is not None:
        for preset in found.presets:
            recipe = read(read_recipe, path, preset)
            assert recipe is not None and recipe.training.batch >= 1
            # As text, for a NaN is unlike itself.
            assert repr({**recipe.options, **found.options}) == repr(recipe.options)


# What a report reads beside rows.

TOLD = {
    "sets/a/manifest.json": {
        "counts": {"cap": {"good": 1, "synthetic": 2}}, "loss": {"steps": [0.5, 1]}, "largest_change": 8,
    },
    "environment.json": {
        "versions": {"torch": "2"}, "dataset": {"fingerprint": "f"}, "data_notice": "none", "seed": 0, "command": "run",
        "suites": {"quick": "Quick look"},
    },
    "models/draem-unified/recipe.toml": {
        "recipe": {"size": [32, 32], "training": {"batch": 8, "epochs": 1.5, "lr": 1e-4}},
        "provenance": {"iterations": 9, "precision": "32-true", "commit": "c"},
    },
    "models/draem-unified/log.csv": {"iteration": [1, 2], "loss": [0.5, 0.25], "validation_ap": [None, 0.5]},
}  # fmt: skip


@fuzz(600)
@given(data=st.data())
def test_what_a_run_says_of_itself(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    run, name = tmp_path_factory.getbasetemp() / "told", data.draw(st.sampled_from(sorted(TOLD)))
    shutil.rmtree(run, ignore_errors=True)
    if name.endswith("csv"):
        table = data.draw(changed(TOLD[name]))
        columns = [value if isinstance(value, list) else [value] for value in table.values()]
        lines = [",".join(map(str, line)) for line in (table, *itertools.zip_longest(*columns, fillvalue=""))]
        content = "\n".join(lines).encode("utf-8", "surrogatepass")
    else:
        content = data.draw(documents(TOLD[name], toml if name.endswith("toml") else dump))
    put(run / name, content)
    logs, environment = read(read_logs, run), read(origins.read_environment, run)
    for log in (logs or {}).values():
        assert set(log.columns) <= set(LOGGED) and not (log.abs() > MOST).any(axis=None)
    assert environment is None or all(
        map(is_printable, [*environment.facts.values(), *environment.suites.values(), environment.notice])
    )
    read(origins.read_sets, run), read(origins.read_models, run)
    values = Values(SOME.assign(set="a", threat="linf 8/255", detector="draem", paradigm="unified"))
    for make, told in ((making.sets_table, origins.read_sets), (making.settings_table, origins.read_models)):
        found = read(told, run)
        made = None if found is None else make(values, found)
        if made is not None:
            assert made.data()["rows"] and table_texts(made)


def table_texts(made: Table) -> str:
    return to_csv(made) + to_markdown(made) + to_latex(made)


# Manifests of adversarial sets.


@pytest.fixture(scope="module")
def sealed(place: Path) -> tuple[Path, Document]:
    """A small set on disk and its manifest."""
    folder, files = place / "set", {}
    for defect in ("good", "synthetic"):
        for name in manifest.companions("cap", defect, "000"):
            write_png(folder / name, np.full((4, 4), len(files), np.uint8))
            files[name] = {"sha256": sha256(folder / name), "change": None}
    # What a manifest must not lead to.
    put(place / "outside.png", b"secret")
    table = {
        "suite": "paper", "threat": {"name": "pgd-8", "eps": "8/255"}, "label": "linf 8/255",
        "sources": [{"name": "draem-unified", "sha256": "0" * 64}], "seed": 0, "dataset": "toy",
        "data_fingerprint": "f", "size": [4, 4], "counts": {"cap": {"good": 1, "synthetic": 1}},
        "loss": {"steps": [0.5, 0.75]}, "largest_change": 0, "versions": {"torch": "2"}, "files": files,
    }  # fmt: skip
    put(folder / manifest.NAME, dump(table))
    manifest.verify(folder, manifest.read_manifest(folder))
    return folder, table


@fuzz(350)
@given(data=st.data())
def test_manifests(place: Path, sealed: tuple[Path, Document], data: st.DataObject) -> None:
    put(place / "read/manifest.json", data.draw(documents(sealed[1], dump)))
    found = read(manifest.read_manifest, place / "read")
    if found is not None:
        assert all(isinstance(name, str) for name in found.files) and len(found.size) == 2
        assert found.source and all("/" not in stem for _, stem in found.images("cap"))
        read(manifest.verify, place / "read", found)


@fuzz(350)
@given(data=st.data())
def test_manifests_of_a_set(sealed: tuple[Path, Document], data: st.DataObject) -> None:
    folder, table = sealed
    part = data.draw(st.sampled_from(["files", "counts"]))
    names = st.sampled_from(["../outside.png", "cap/../../outside.png", "/etc/hostname", *WORDS])
    paths = st.dictionaries(names, st.just({"sha256": sha256(folder.parent / "outside.png"), "change": 1}), max_size=2)
    entries = data.draw(changed(table[part], values | paths))
    put(folder / manifest.NAME, dump({**table, part: {**entries, **data.draw(paths)}}))
    found = read(manifest.read_manifest, folder)
    # A set is taken whole or not at all.
    if found is not None and read(complete, folder, found):
        assert set(found.files) == set(table["files"])
        assert all((folder / name).resolve().is_relative_to(folder.resolve()) for name in found.files)


def complete(folder: Path, found: manifest.Manifest) -> bool:
    manifest.verify(folder, found)
    return True


# Rows.

CELLS = [
    *WORDS, "inf", "-inf", "NaN", "1e308", "-1e308", "1e-400", "0x10", "1_000", " 1", "1 ", "٣", "+1", "1.5", "1e3",
    "True", "99999999999999999999", "-9223372036854775809", '"', '""', "'", ",", ";", "=1+1", "#N/A", "\\",
    "\ufeff", "clean",    "linf 8/255", "linf 8/255 targeted", "l2 1e9", "self", "a+b", "psnr", "unified",
]  # fmt: skip
SOME = fake_rows(detectors=("draem",)).query("metric in ['pixel_ap', 'pixel_ap_chance', 'psnr']").iloc[::5]
SOME = SOME.reset_index(drop=True)


@st.composite
def spoiled_rows(draw: st.DrawFn) -> bytes:
    """A results.csv with cells, rows or columns changed."""
    cells = [list(COLUMNS), *SOME.astype(str).fillna("").to_numpy().tolist()]
    for _ in range(draw(st.integers(1, 4))):
        row, column = draw(st.integers(0, len(cells) - 1)), draw(st.integers(0, len(COLUMNS) - 1))
        what = draw(st.sampled_from(["cell", "cell", "cell", "column", "double", "remove", "short"]))
        text = draw(st.sampled_from(CELLS) | st.text(max_size=6))
        if what == "cell" and column < len(cells[row]):
            cells[row][column] = text
        elif what == "column":
            for line in cells[1:]:
                line[column : column + 1] = [text]
        elif what == "double":
            cells.insert(row, list(cells[row]))
        elif what == "remove" and len(cells) > 1:
            del cells[row]
        elif what == "short":
            del cells[row][column:]
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in line] for line in cells]
    return "\n".join(",".join(line) for line in quoted).encode("utf-8", "surrogatepass") + b"\n"


PLAIN = SOME.to_csv(index=False, lineterminator="\n").encode()
MAKERS = (headline.headline, headline.every_metric)


@fuzz(300)
@given(content=spoiled_rows() | spoiled_rows() | torn(PLAIN) | st.binary(max_size=60))
def test_rows(place: Path, content: bytes) -> None:
    rows = read(read_rows, put(place / "results.csv", content))
    if rows is None:
        return
    assert list(rows.columns) == list(COLUMNS)
    assert [str(rows[name].dtype) for name in ("value", "n", "seed")] == ["float64", "int64", "int64"]
    write_rows(place / "again.csv", rows)
    assert read_rows(place / "again.csv").equals(rows)
    for run, known in ((rows, SOME), (SOME, rows)):
        judged = read(judge, run, known)
        if judged is not None:
            same = set(zip(*(run[name] for name in KEY), strict=True)) & set(
                zip(*(known[name] for name in KEY), strict=True)
            )
            assert len(judged) == len(run) + len(known) - len(same)
            root = ElementTree.fromstring(gate.junit(judged))
            assert len(root.findall("testsuite/testcase")) == len(judged)
            check_pipes(gate.markdown(judged, "b.csv"))


@fuzz(80)
@given(content=spoiled_rows())
def test_tables_of_rows(place: Path, content: bytes) -> None:
    rows = read(read_rows, put(place / "results.csv", content))
    found = None if rows is None else read(Values, rows)
    if found is not None:
        made = [maker(found) for maker in MAKERS]
        made += [categories.by_category(found, metric) for metric in found.metrics]
        for one in made:
            if one is not None and not one.frame.empty:
                check_pipes(table.to_markdown(one))
                assert "\\end{table*}" in table.to_latex(one)


def check_pipes(text: str) -> None:
    """Every line of a block of table lines has as many cells as its head; no markup came through."""
    before = None
    for line in text.split("\n"):
        assert "\r" not in line and "<script" not in line
        count = len(line.replace("\\\\", "").replace("\\|", "").split("|")) if line.startswith("|") else None
        assert before is None or count is None or count == before, line
        before = count


@fuzz(60)
@given(
    content=documents({"commit": "c", "versions": {"torch": "2"}, "command": "x", "seed": 0, "started": "then"}, dump)
)
def test_environments_of_a_new_baseline(place: Path, content: bytes) -> None:
    put(place / "run/environment.json", content)
    write_rows(place / "run/results.csv", SOME)
    if read(baseline.update, [place / "run"], place / "base.csv", "nothing moved") is not None:
        written = json.loads((place / "base.provenance.json").read_text(encoding="utf-8"))
        assert written["sha256"] == sha256(place / "base.csv")


# Checkpoints.


@pytest.fixture(scope="module")
def trained(place: Path, one_thread: None) -> Path:  # noqa: ARG001
    recipe = Recipe(detector="draem", preset="tiny", size=(32, 32), options={"width": 2, "loc_width": 2, "pooling": 5})
    about = checkpoint.provenance_of(
        "draem", "unified", ["cap"], dataset="toy", data_fingerprint="f", seed=0, precision="32-true", key="k"
    )
    checkpoint.save(place / "model", build(recipe), recipe, about(3))
    return place / "model"


@fuzz(140)
@given(data=st.data())
def test_checkpoints(trained: Path, data: st.DataObject) -> None:
    """With the hash of damaged weights in the recipe, too: it guards against accidents, not against intent."""
    folder = trained.with_name("spoiled")
    weights = (trained / checkpoint.WEIGHTS).read_bytes()
    recipe = tomllib.loads((trained / checkpoint.RECIPE).read_text(encoding="utf-8"))
    content = toml(recipe)
    (length,) = struct.unpack("<Q", weights[:8])
    head, rest = weights[8 : 8 + length], weights[8 + length :]
    how = data.draw(st.sampled_from(["recipe", "provenance", "sha256", "text", "torn", "head", "entries"]))
    if how in recipe:
        part = {how: recipe.pop(how)}
        content = toml({**recipe, **data.draw(changed(part))})
    elif how == "text":
        content = data.draw(torn(content))
    else:
        if how == "torn":
            weights = data.draw(torn(weights))
        else:
            head = data.draw(torn(head) if how == "head" else changed(json.loads(head)).map(dump))
            weights = struct.pack("<Q", len(head)) + head + rest
        if data.draw(st.booleans()):
            content = toml({**recipe, "sha256": hashlib.sha256(weights).hexdigest()})
    put(folder / checkpoint.WEIGHTS, weights)
    put(folder / checkpoint.RECIPE, content)
    found = read(checkpoint.load, folder)
    if found is not None:
        assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in found.detector.state_dict().values())
        with torch.no_grad():
            assert found.detector(torch.zeros(1, 3, *found.recipe.size)).logits.shape[0] == 1


def test_a_recipe_that_asks_for_all_memory_is_refused_before_it_gets_any(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(trained, trained.with_name("wide"))
    text = (folder / checkpoint.RECIPE).read_text(encoding="utf-8")
    put(folder / checkpoint.RECIPE, text.replace("width = 2", "width = 1024").encode())
    monkeypatch.setattr(checkpoint, "build", lambda _: pytest.fail("built"))
    with pytest.raises(UserError, match="the weights of another detector"):
        checkpoint.load(folder)


def test_what_a_terminal_acts_on_is_shown_by_its_escape() -> None:
    assert str(UserError("cannot read a\nb\x1b[31m\u202e\ud800 é 名")) == r"cannot read a\nb\x1b[31m\u202e\ud800 é 名"


# Images.

CHUNKS = [*b"tEXt zTXt iTXt iCCP tRNS PLTE gAMA cHRM eXIf pHYs acTL fcTL fdAT sRGB IEND abcd".split(), b"\x00" * 4]
SIDES = [0, 1, 5, 6, 7, 8, 300, 2**14, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1]


def encoded(mode: str, kind: str = "PNG") -> bytes:
    pixels = np.arange(6 * 7 * 4, dtype=np.uint8).reshape(6, 7, 4)
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200) if mode == "I;16" else Image.fromarray(pixels)
    (image if mode == "I;16" else image.convert(mode)).save(buffer, kind)
    return buffer.getvalue()


PNGS = [encoded(mode) for mode in ("RGB", "L", "RGBA", "LA", "P", "1", "I;16")]
OTHERS = [encoded("RGB", kind) for kind in ("JPEG", "BMP", "TIFF", "WEBP", "PPM")]


def chunks_of(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG with check sums that are right, so that what lies behind them is looked at."""
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@st.composite
def spoiled_png(draw: st.DrawFn) -> bytes:
    """A PNG with a changed header, with chunks added, moved, cut, doubled or turned, or with more or fewer pixels."""
    chunks = chunks_of(draw(st.sampled_from(PNGS)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(chunks) - 1))
        what = draw(st.sampled_from(["header", "header", "pixels", "add", "torn", "remove", "double", "swap"]))
        if what == "header":
            sides = st.sampled_from(SIDES)
            kind = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 8, 16, 255])
            zero = st.sampled_from([0, 0, 0, 1, 9])
            body = struct.pack(">IIBBBBB", *(draw(one) for one in (sides, sides, kind, kind, zero, zero, zero)))
            chunks[0] = (b"IHDR", body)
        elif what == "pixels":
            chunks.insert(at, (b"IDAT", zlib.compress(b"\x00" * draw(st.sampled_from([0, 1, 50, 10_000])))))
        elif what == "add":
            name = st.sampled_from(CHUNKS)
            packed = st.sampled_from([b"a\x00\x00" + zlib.compress(b"x" * 2_000_000), b"a\x00\x01\x00a\x00a\x00xx"])
            chunks.insert(at, (draw(name), draw(st.binary(max_size=30) | packed)))
        elif what == "torn":
            chunks[at] = (chunks[at][0], draw(torn(chunks[at][1])))
        elif what == "remove" and len(chunks) > 1:
            del chunks[at]
        elif what == "double":
            chunks.insert(at, chunks[at])
        elif what == "swap":
            chunks[at], chunks[-1] = chunks[-1], chunks[at]
    return png_of(chunks)


def look(path: Path) -> None:
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, which nobody here reads.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for size in (None, (4, 5)):
            found = read(read_image, path, size)
            if found is not None:
                pixels, original = found
                assert pixels.shape == (*(original if size is None else size), 3) and pixels.dtype == np.uint8
        levels = read(read_levels, path)
        assert levels is None or (levels.dtype == np.uint8 and sum(measure(levels).counts) == levels.size)
        read(read_levels, path, original=(6, 7))
        for mode in ("RGB", "L"):
            exact = read(read_png, path, mode, (6, 7))
            assert exact is None or (exact.shape[:2] == (6, 7) and exact.dtype == np.uint8)


@fuzz(950)
@given(content=spoiled_png() | spoiled_png() | st.sampled_from(PNGS + OTHERS).flatmap(torn) | st.binary(max_size=60))
def test_images(place: Path, content: bytes) -> None:
    look(put(place / "image.png", content))


@pytest.mark.parametrize("side", [10_000, 2**15, 2**31 - 1])
@pytest.mark.parametrize("kind", [0, 2])
def test_a_decompression_bomb_is_refused_in_one_line(tmp_path: Path, side: int, kind: int) -> None:
    body = zlib.compress(b"\x00" * 1_000_000, 9)
    header = struct.pack(">IIBBBBB", side, side, 8, kind, 0, 0, 0)
    path = put(tmp_path / "bomb.png", png_of([(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]))
    for refuse in (lambda: read_image(path), lambda: read_levels(path), lambda: read_png(path, "RGB", (side, side))):
        with pytest.raises(UserError) as caught:
            refuse()
        assert "bomb.png" in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "a = " + "{a = " * 5000,
        "seed = " + "9" * 5000,
        "a" + ".a" * 200_000 + " = 1",
        'name = "s"\ntitle = "t"\nthreats = [{ name = "a", eps = "1e-99999999" }]',
        'name = "s"\ntitle = "t"\nthreats = [{ name = "a", eps = "1e-9_9_9_9_9_9_9_9" }]',
    ],
)
def test_records_that_would_take_all_memory_or_time_are_refused(tmp_path: Path, text: str) -> None:
    assert read(read_suite, str(put(tmp_path / "deep.toml", text.encode()))) is None
    assert read(read_plan, str(put(tmp_path / "deep.toml", text.encode()))) is None
