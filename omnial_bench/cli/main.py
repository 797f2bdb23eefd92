"""The command line: each command is imported when it is called, so that help is quick."""

import errno
import logging
import signal
import sys
from importlib import import_module
from typing import Any

import click

from omnial_bench.errors import UserError, unknown
from omnial_bench.memory import keep_freed_memory

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Benchmark": {
        "demo": ("run", "The whole benchmark on the embedded data set, in minutes on a CPU."),
        "run": ("run", "Train, attack, score and report what a plan names; goes on where it stopped."),
        "report": ("report", "Write the report of a run again from its rows."),
        "check": ("check", "Compare a run with a baseline: exit 1 where a figure got worse."),
    },
    "Steps": {
        "train": ("train", "Train one detector, unified or separate."),
        "attack": ("attack", "Build adversarial sets from trained models."),
        "score": ("score", "Score trained models on clean and attacked images."),
    },
    "Look up": {
        "data": ("data", "Data sets: list, download, verify, draw the embedded one."),
        "show": ("show", "Detectors, attack suites and plans that exist."),
    },
}
COMMANDS = {name: module for section in SECTIONS.values() for name, (module, _) in section.items()}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            raise unknown("command", cmd_name, COMMANDS)
        command: click.Command = getattr(import_module(f"omnial_bench.cli.{COMMANDS[cmd_name]}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            # Here, for click would print an empty line.
            raise click.Abort from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, members in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in members.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="omnial-bench")
@click.option("-v", "--verbose", is_flag=True, help="Say what is done and why.")
def cli(verbose: bool) -> None:
    """Robustness benchmark for unsupervised industrial anomaly localisation.

    First steps: `omnial-bench demo`, then `omnial-bench run PLAN --data ROOT --out DIR` on your own images.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr)


def main() -> None:
    """Entry point: exit 0 done, 1 a check failed, 2 the input is wrong, 130 work was interrupted (one line)."""
    keep_freed_memory()
    # What a scheduler sends before it kills ends work as an interrupt does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(cli(standalone_mode=False))
    except UserError as error:
        _fail(str(error))
    except click.UsageError as error:
        hint = f"; see '{error.ctx.command_path} --help'" if error.ctx else ""
        _fail(error.format_message().rstrip(".").replace("\n", " ") + hint)
    except click.ClickException as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, click.Abort) as stop:
        # click raises one of its own from the interrupt.
        how = str(stop.__cause__ or stop) or "the same command goes on from there"
        click.echo(f"interrupted; what is done stays, {how}", err=True)
        sys.exit(130)
    except OSError as error:
        if error.errno is None:
            raise
        file = f": {error.filename}" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        _fail(f"{error.strerror}{file}{'; make room and give the same command again' if full else ''}")


def _fail(line: str) -> None:
    click.echo(f"error: {' '.join(line.split())}", err=True)
    sys.exit(2)
