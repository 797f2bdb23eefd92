"""The arrows of the house: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "omnial_bench"
LAYERS = [
    {"errors", "nouns", "records", "store", "provenance"},
    {"data", "synthesis", "losses", "metrics", "device"},
    {"models", "attacks"},
    {"checkpoint", "jobs", "training", "scoring", "examples", "planning", "runner", "steps"},
    {"reports", "check"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> set[str]:
    """Absolute names of modules that a file imports, at any depth of its code, but not for type checking alone."""
    names = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parts(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("omnial_bench.")} & LEVEL.keys()


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_arrows_point_left(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} has no place in the layers"
    others = parts(imported(path)) - {own}
    assert {name for name in others if LEVEL[name] > LEVEL[own]} == set()
    if own in ("models", "attacks"):
        assert not others & {"models", "attacks"}
    if own in ("reports", "check"):
        assert others <= {"errors", "store", "records", "data", "reports", "provenance"}


def test_only_attacks_import_torchattacks_and_nothing_torchvision() -> None:
    users = {path.relative_to(PACKAGE).parts[0] for path in FILES if any("torchattacks" in n for n in imported(path))}
    assert users == {"attacks"}
    assert not [path for path in FILES if any(name.split(".")[0] == "torchvision" for name in imported(path))]


def test_nothing_is_unpickled() -> None:
    for path in FILES:
        assert not imported(path) & {"pickle", "dill", "joblib", "torch.load", "numpy.load"}, path
        assert "torch.load(" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(
    "module", ["cli.main", "cli.report", "cli.check", "reports.document", "check", "store", "records"]
)
def test_starts_without_torch(module: str) -> None:
    code = f"import sys, omnial_bench.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
