"""What one image passes on its way through `run`: the depth of calls and the modules, of the package alone.

`python -m benchmarks.walk` draws one category, trains a network for two steps, and then runs the plan again with only
its scores and attacks to be made. Printed are the deepest call of the run, the deepest in which a detector is shown an
image, and the modules in which a function was called: in all, and while a task held an image.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click

import omnial_bench
from omnial_bench.config.schema import Plan
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.pipeline.plan import Settings
from omnial_bench.pipeline.run_plan import run

RECORD = """
base = "draem"
title = "Walk"
[presets.walk]
size = [32, 32]
training = { max_iterations = 2, batch = 2 }
options = { width = 4, loc_width = 4, pooling = 5 }
"""
PACKAGE = str(Path(omnial_bench.__file__).parent) + os.sep
HOLDERS = ("evaluation/evaluate.py", "evaluation/scoring.py")
"""What an image passes in every task on a model."""
Stack = tuple[str, ...]


def walked(action: Callable[[], Any]) -> set[Stack]:
    """Every stack of calls inside the package, `module:function` from the outermost."""
    stacks: set[Stack] = set()

    def note(frame: FrameType | None, event: str, _: Any) -> None:
        stack = []
        while event == "call" and frame is not None:
            if frame.f_code.co_filename.startswith(PACKAGE):
                stack.append(f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_code.co_name}")
            frame = frame.f_back
        if stack:
            stacks.add(tuple(reversed(stack)))

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return stacks


def down_to_detector(stack: Stack) -> Stack:
    """A stack down to the forward of the detector, below which are its own layers; empty where none is called."""
    forwards = [place for place, call in enumerate(stack) if call.startswith("models/") and call.endswith(":forward")]
    return stack[: forwards[0] + 1] if forwards else ()


def walk_a_run() -> set[Stack]:
    """The stacks of a run of which only scores and attacks are left to be made."""
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder), Path(folder) / "out"
        os.environ["OMNIAL_BENCH_CACHE"] = str(root / "cache")
        draw_toy(root / "data", size=32, train=4, test_good=1, test_defect=1)
        (root / "walk.toml").write_text(RECORD)
        plan = Plan(
            name="walk", title="Walk", dataset="toy", categories=("cap",), preset="walk", paradigms=("unified",),
            detectors=(str(root / "walk.toml"),), suites=("quick",), test_limit=2,
        )  # fmt: skip
        settings = Settings(data=root / "data", out=out, device="cpu")
        run(plan, settings)
        for note in (*(out / ".tasks").glob("evaluate*"), *(out / ".tasks").glob("score*")):
            note.unlink()
        return walked(lambda: run(plan, settings))


def with_an_image(stacks: set[Stack]) -> set[Stack]:
    return {stack for stack in stacks if any(call.startswith(HOLDERS) for call in stack)}


def modules_of(stacks: set[Stack]) -> list[str]:
    return sorted({call.partition(":")[0] for stack in stacks for call in stack})


def main() -> None:
    stacks = walk_a_run()
    for title, of in (("deepest call", stacks), ("until a detector sees an image", set(map(down_to_detector, stacks)))):
        deepest = max(sorted(of), key=len)
        click.echo(f"{title}: {len(deepest)}\n  " + " > ".join(deepest))
    for title, of in (("in all", stacks), ("with an image", with_an_image(stacks))):
        modules = modules_of(of)
        click.echo(f"modules {title}: {len(modules)}\n  " + " ".join(modules))


if __name__ == "__main__":
    main()
