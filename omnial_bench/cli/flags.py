"""Options that several commands share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class _Folder(click.ParamType[Path]):
    """A folder of this machine's file systems; a URL would be taken for a relative path otherwise."""

    name = "DIR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if "://" in str(value):
            self.fail(
                f"expected a folder, got the URL {value}; mount it, or give `run` a folder and --mirror URL", param, ctx
            )
        return Path(value)


FOLDER = _Folder()

data = click.option(
    "--data", required=True, type=FOLDER, metavar="ROOT", help="Folder of a data set; see `data verify`."
)  # fmt: skip
textures = click.option(
    "--textures", type=FOLDER, metavar="DIR", help="Folder of textures such as DTD; default: bundled photographs."
)  # fmt: skip
out = click.option("--out", required=True, type=FOLDER, metavar="DIR", help="Folder to write.")
SEEDS = click.IntRange(0, 2**31 - 1)
seed = click.option("--seed", type=SEEDS, default=0, show_default=True, help="Random seed.")
plan_seed = click.option("--seed", type=SEEDS, help="Random seed; default: the plan's.")
row_seed = click.option("--seed", type=SEEDS, help="Seed that the rows name; default: that of each training.")
no_seed = click.option(
    "--seed", type=SEEDS, expose_value=False, help="Taken by every command; nothing is drawn by chance here."
)  # fmt: skip
device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
precision = click.option(
    "--precision", type=click.Choice(["32-true", "bf16-mixed", "16-mixed"]), default="32-true", show_default=True,
    help="Of the networks; images, steps and scores stay float32.",
)  # fmt: skip
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
jobs = click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes side by side.")
devices = click.option(
    "--devices", type=click.IntRange(1), default=1, show_default=True,
    help="CUDA devices, or CPU processes, that share each batch of a training.",
)  # fmt: skip
recompute = click.option(
    "--recompute", is_flag=True,
    help="Make a network's features twice: a fifth of the memory for them, a quarter more time, the same weights.",
)  # fmt: skip
reader = click.option(
    "--reader", metavar="NAME_OR_PACKAGE.MODULE:OBJECT",
    help="What reads the data; default: that of the layout that it is in. Code wants --trust as well.",
)  # fmt: skip
labels = click.option(
    "--labels", type=click.Choice(["pixel", "image"]),
    help="What is known of test images; image: no masks are read. Default: image where there are none.",
)  # fmt: skip
trust = click.option(
    "--trust", "trusted", multiple=True, metavar="PACKAGE.MODULE:OBJECT",
    help="Code that a record, suite, plan, checkpoint or --reader may run; without it that is refused.",
)  # fmt: skip
detectors = click.option(
    "--detector", "detectors", multiple=True, metavar="[NAME=]PACKAGE.MODULE:OBJECT",
    help="A model of your own: runs code from that module, which makes a torch module.",
)  # fmt: skip
metrics = click.option(
    "--metric", "metrics", multiple=True, metavar="PACKAGE.MODULE:OBJECT",
    help="A metric of your own, beside the others: runs code from that module.",
)  # fmt: skip
defence = click.option(
    "--defence", metavar="'NAME [KEY=VALUE]...'",
    help="What stands around each model: smoothing, or PACKAGE.MODULE:OBJECT, which runs code from that module.",
)  # fmt: skip
made_with = click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="Of a --detector: a keyword for what makes it."
)  # fmt: skip
paradigm = click.option(
    "--paradigm", type=click.Choice(["unified", "separate"]), default="unified", show_default=True,
    help="Of a --detector: one for all categories, or one made for each.",
)  # fmt: skip
held_out = click.option(
    "--held-out", type=FOLDER, metavar="DIR",
    help="Normal images, or a folder of them a category, that a --detector takes its scale from; default: training.",
)  # fmt: skip
preset = click.option("--preset", default="paper", show_default=True, help="paper, small or tiny.")


class _Size(click.ParamType[tuple[int, int]]):
    """Height and width in pixels, such as 256x320."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", str(value), re.ASCII)
        if found is None:
            self.fail(f"expected height x width such as 256x320, of five digits at the most, got {value!r}", param, ctx)
        return int(found[1]), int(found[2])


SIZE = _Size()
size = click.option(
    "--size", type=SIZE, default="256x256", show_default=True, help="Of a --detector: height x width."
)  # fmt: skip


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, shown in the order given."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
