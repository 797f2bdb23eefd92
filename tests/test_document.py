"""The report: three formats from one context, nothing of the text read as markup, no torch."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from fake_run import fake_rows, fake_run

from omnial_bench.cli.report import report
from omnial_bench.errors import UserError
from omnial_bench.io.whole import write_json, write_text
from omnial_bench.reports.document import write_report
from omnial_bench.reports.origins import MadeSet, read_sets
from omnial_bench.results import UNFINISHED, write_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake_run(tmp_path_factory.mktemp("run"), size=(32, 32))
    written = write_report(folder)
    assert [path.name for path in written] == ["report.md", "report.pdf", "report.html"]
    return folder


def text_of(run: Path, name: str = "report.md") -> str:
    return (run / name).read_text(encoding="utf-8")


def test_markdown_names_files_that_are_there(run: Path) -> None:
    text = text_of(run)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 20
    assert [link for link in links if not (run / link).is_file()] == []
    assert {Path(link).suffix for link in links} == {".png", ".svg", ".csv", ".tex"}
    assert text.startswith("# Fake run &amp; &lt;its&gt; title\\_with \\#signs\n")
    for kind in ("Table", "Figure"):
        numbers = [int(number) for number in re.findall(rf"\*\*{kind} (\d+)\.\*\*", text)]
        assert numbers == list(range(1, len(numbers) + 1))


def test_markdown_says_source_limits_and_provenance(run: Path) -> None:
    text = text_of(run)
    assert "mean loss over DRAEM unified, JNLD unified and OmniAL unified" in text
    assert "training normals of the detectors" in text and "no white-box figure" in text
    assert text.rstrip().splitlines()[-1].startswith("How to cite: The omnial-bench authors, omnial-bench 0.1.0:")
    assert "0123456789abcdef" in text and "torch 2.11.0" in text
    images = [path for path in run.glob("figures/*.png") if path.name.startswith(("images_", "synthesis_"))]
    assert text.count("Images: invented.") == len(images) + 1


def test_a_set_that_was_set_aside_as_damaged_is_not_reported(tmp_path: Path) -> None:
    for name, text in (("pgd", '{"largest_change": 8}'), ("pgd.damaged", "{")):
        write_text(tmp_path / "sets" / name / "manifest.json", text)
    assert read_sets(tmp_path) == {"pgd": MadeSet(largest_change=8)}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_stands_alone_and_is_escaped(run: Path) -> None:
    text = text_of(run, "report.html")
    page = _Page()
    page.feed(text)
    assert page.open == [] and len(page.sources) >= 9
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "&lt;its&gt;" in text and "<its>" not in text


def test_pdf_is_whole(run: Path) -> None:
    pdf = (run / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-") and pdf.rstrip().endswith(b"%%EOF")
    assert not list(run.glob(".*")) and not list(run.glob("*.typ")) and not list(run.glob("data.json"))


def test_rows_alone_make_a_report_that_says_what_it_lacks(tmp_path: Path) -> None:
    write_rows(tmp_path / "results.csv", fake_rows())
    assert write_report(tmp_path, ("md",)) == [tmp_path / "report.md"]
    text = text_of(tmp_path)
    assert "## Left out" in text and "training curves: no log.csv" in text and "not recorded" in text
    assert "**What was found.** On the fixed set pgd-8" in text and "White-box" not in text and "health" not in text
    assert not (tmp_path / "report.pdf").exists()
    with pytest.raises(UserError, match="got none"):
        write_report(tmp_path, ("md",), seed=7)


def test_a_stopped_run_says_what_it_lacks(tmp_path: Path) -> None:
    rows = fake_rows(detectors=("draem",))
    write_rows(tmp_path / "results.csv", rows[(rows["paradigm"] == "unified") & (rows["set"] == "clean")])
    waiting = [f"score jnld-unified on clean, {name}" for name in ("bottle", "grid")] + ["train omnial-unified"] * 5
    for done, missing, words in (
        (3, waiting, ("3 of 10 tasks are done", "score jnld-unified on clean, bottle; ", "; and 2 more.")),
        (10, [], ("**Unfinished.** All 10 tasks are done, but",)),
    ):
        write_json(tmp_path / UNFINISHED, {"done": done, "of": 10, "missing": missing})
        write_report(tmp_path, ["md", "html"])
        assert [part for part in words if part not in text_of(tmp_path)] == []
        assert "**Unfinished.**" in text_of(tmp_path) and "<h2>Unfinished</h2>" in text_of(tmp_path, "report.html")
    (tmp_path / UNFINISHED).unlink()
    write_report(tmp_path, ["md"])
    assert "Unfinished" not in text_of(tmp_path)


def test_what_the_user_gets_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown format 'pdg'; did you mean 'pdf'"):
        write_report(tmp_path, ("pdg",))
    with pytest.raises(UserError, match="no results at"):
        write_report(tmp_path)
    write_rows(tmp_path / "results.csv", fake_rows())
    for text, words in (("{", r"environment\.json as JSON"), ("[1]", "expected a JSON object")):
        write_text(tmp_path / "environment.json", text)
        with pytest.raises(UserError, match=words):
            write_report(tmp_path)


def test_command(tmp_path: Path) -> None:
    write_rows(tmp_path / "results.csv", fake_rows(sets={}))
    done = CliRunner().invoke(report, [str(tmp_path), "--format", "md, html"])
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == ["report", str(tmp_path / "report.md"), "report", str(tmp_path / "report.html")]
    assert "left out: training curves: no log.csv under models/" in done.stderr


def test_a_report_is_written_without_torch(tmp_path: Path) -> None:
    write_rows(tmp_path / "results.csv", fake_rows())
    code = (
        "import sys; from pathlib import Path\n"
        "import omnial_bench.reports.verdicts, omnial_bench.cli.check, omnial_bench.cli.report\n"
        "from omnial_bench.reports.document import write_report\n"
        f"write_report(Path({str(tmp_path)!r}), ('md',)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
