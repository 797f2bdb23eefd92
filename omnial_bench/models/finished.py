"""Where a finished training lies: the files of its folder. No torch here."""

from pathlib import Path

from omnial_bench.errors import UserError

WEIGHTS, RECIPE = "checkpoint.safetensors", "recipe.toml"


def folder_of(path: str | Path) -> Path:
    """The folder of a checkpoint, which may be given by its file. UserError where a file of it is missing."""
    path = Path(path)
    folder = path.parent if path.name == WEIGHTS else path
    if folder.is_file():
        raise UserError(f"{path} is not a checkpoint; expected a folder with {WEIGHTS} and {RECIPE}")
    for name in (WEIGHTS, RECIPE):
        if not (folder / name).is_file():
            raise UserError(
                f"no checkpoint at {path}: {folder / name} is missing; give the folder of a finished training, or a "
                "module of your own with --detector"
            )
    return folder
