"""What finished tasks left in a run folder, each under the key of all that decides it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from omnial_bench.data.unpack import inside
from omnial_bench.errors import UserError
from omnial_bench.io.whole import write_json


def read_memory(folder: Path, task: str) -> dict[str, Any] | None:
    """What a finished task left in `folder`, None where it left nothing; UserError where that is damaged."""
    path = folder / f"{task}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error})") from error
    if not isinstance(found, dict) or found.pop("sha256", None) != _hash(found):
        raise UserError(f"{path} is damaged (its hash differs)")
    files = found.get("files", {})
    if not isinstance(files, dict) or not all(inside(name) for name in files):
        raise UserError(f"{path} is damaged (it names files outside of its folder)")
    return found


def remember(folder: Path, task: str, key: str, value: dict[str, Any]) -> None:
    """Keep what a finished task leaves (JSON values) under its key, in place of what an earlier one left."""
    kept = {**value, "key": key}
    write_json(folder / f"{task}.json", {**kept, "sha256": _hash(kept)})


def _hash(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
