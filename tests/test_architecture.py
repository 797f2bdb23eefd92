"""What the contract of arrows in pyproject.toml cannot say: what runs nothing that it reads, and what starts fast."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "omnial_bench"


def imported(text: str) -> set[str]:
    """Absolute names of modules that a module imports, at any depth of its code, but not for type checking alone."""
    tree, names = ast.parse(text), set()
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    hidden = {inner for guard in guards for inner in ast.walk(guard)}
    for node in set(ast.walk(tree)) - hidden:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


FILES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}


def test_only_attacks_import_torchattacks_and_nothing_torchvision() -> None:
    users = {
        (package, file.split("/")[0])
        for file, text in FILES.items()
        for package in ("torchattacks", "torchvision")
        if any(name.split(".")[0] == package for name in imported(text))
    }
    assert users == {("torchattacks", "attacks")}


# What reads or runs more than data. `provenance` asks git for the commit, by a fixed command, no shell. `processes`
# keeps a process pool; what passes between its own processes is pickled by the standard library. `ray_executor` has Ray
# do that between the machines of a cluster, which trust each other. `trust` imports the `package.module:object` that
# a user trusts, the one way for foreign code to come in; the others import by fixed names. `weights` has torch read
# tensors alone.
MODULES = {
    "pickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "dbm", "yaml", "code", "codeop", "runpy",
    "subprocess", "importlib.import_module", "importlib.util", "importlib.machinery", "multiprocessing",
    "concurrent.futures.ProcessPoolExecutor", "pty", "ctypes", "ray",
}  # fmt: skip
ALLOWED = {
    "memory.py": {"ctypes"},
    "provenance.py": {"subprocess"},
    "models/weights.py": {"torch.load"},
    "processes.py": {"multiprocessing", "concurrent.futures.ProcessPoolExecutor"},
    "pipeline/ray_executor.py": {"ray"},
    "trust.py": {"importlib.import_module", "importlib.machinery"},
    "cli/main.py": {"importlib.import_module"},
}
NAMES = {
    "importlib.import_module", "importlib.util", "importlib.machinery", "os.system", "os.popen", "os.execv",
    "os.execve", "os.execvp", "os.spawnv", "os.spawnl", "torch.load", "torch.jit", "torch.hub", "torch.package",
    "np.load", "np.fromfile", "np.memmap", "numpy.load", "pd.read_pickle", "pd.eval", "pd.read_hdf",
    "pandas.read_pickle", "frame.query", "frame.eval", "eval(", "exec(", "compile(", "__import__(", "allow_pickle=",
    "shell=",
}  # fmt: skip


def dangers(text: str) -> set[str]:
    """What of a module's text could run or unpickle what it reads: modules, calls by their names, keywords."""
    modules = imported(text)
    names = modules.copy()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names.add(f"{node.func.id}(")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.keyword):
            names.add(f"{node.arg}=")
    return names & NAMES | {
        danger for danger in MODULES if any(f"{name}.".startswith(f"{danger}.") for name in modules)
    }


@pytest.mark.parametrize("file", FILES)
def test_nothing_that_is_read_can_run(file: str) -> None:
    assert dangers(FILES[file]) == ALLOWED.get(file, set())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("eval('1')", {"eval("}),
        ("def f():\n    return exec(x)", {"exec("}),
        ("torch.load(path)", {"torch.load"}),
        ("from numpy import load", {"numpy.load"}),
        ("np.load(p, allow_pickle=True)", {"np.load", "allow_pickle="}),
        ("os.system(line)", {"os.system"}),
        ("run(line, shell=True)", {"shell="}),
        ("detector.eval()\nre.compile(x)\njson.load(file)", set()),
    ],
)
def test_what_could_run_is_found(text: str, found: set[str]) -> None:
    assert dangers(text) == found


CUT = ("checkpoint", "distributed", "fitting", "gradient", "learned", "registry", "siamese", "unfinished")
"""What trains, fits, counts and saves, and no image passes on its way to a prediction."""
FORWARDS = [file for file in FILES if re.match(r"(models|defences)/\w+\.py", file) and Path(file).stem not in CUT]


@pytest.mark.parametrize("file", FORWARDS)
def test_no_detector_cuts_its_gradient(file: str) -> None:
    """An attack needs the gradient through every branch; where one is cut, a detector looks robust. What returns whole
    numbers has none."""
    tree = ast.parse(FILES[file])
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns).startswith("Int64["):
            node.body = []
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert attributes.isdisjoint({"detach", "detach_", "no_grad", "inference_mode", "data", "round", "argmax"})


WITHOUT_TORCH = (
    "cli.main", "cli.report", "cli.check", "reports.document", "reports.verdicts", "reports.baseline", "reports.gate",
    "results", "config.load", "attacks.health", "attacks.threats", "data.catalog", "data.dataset",
    "defences.registry", "metrics.metric", "models.options.known", "pipeline.early",
)  # fmt: skip


SELDOM = ("ray", "lightning_fabric", "torch._dynamo", "sympy", "torchattacks", "scipy.ndimage", "skimage.filters")
"""What a run imports only where it is asked for: together they cost more than torch."""


def test_starts_without_torch_and_runs_without_more() -> None:
    """One after the other in one interpreter; the first that brings torch along is named, and what a run does. What
    draws is imported where a figure is drawn."""
    code = "import sys; from importlib import import_module\n"
    code += f"for name in {WITHOUT_TORCH!r}:\n    import_module(f'omnial_bench.{{name}}')\n"
    code += "    if {'torch', 'matplotlib', 'seaborn'} & sys.modules.keys(): sys.exit(name)\n"
    code += f"import omnial_bench.pipeline.run_plan\nsys.exit(' '.join({set(SELDOM)!r} & sys.modules.keys()) or None)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_installed_package_brings_no_other_top_level_name() -> None:
    """What is linted beside it, such as benchmarks/, stays in a checkout."""
    made = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert made["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["omnial_bench"]
