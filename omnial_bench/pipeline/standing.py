"""Whether a task is done, or why it is due; and what a finished one leaves, with the hashes of all that it wrote."""

import json
import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from omnial_bench.errors import UserError
from omnial_bench.evaluation.evaluate import Evaluation, evaluation_of
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.io.whole import set_aside, sha256
from omnial_bench.models.checkpoint import RECIPE, WEIGHTS, Stored, read_provenance
from omnial_bench.models.training import LOG
from omnial_bench.models.unfinished import STATE
from omnial_bench.pipeline.cache import read_memory, remember
from omnial_bench.pipeline.plan import Model
from omnial_bench.pipeline.study import Decided, Study
from omnial_bench.pipeline.tasks import Building, Reporting, Task, Training, decided, graph

log = logging.getLogger(__name__)

NEVER = "never done"
UNNAMED = ("made by other code or settings",)
HASHED = ("code", "detector", "data", "textures", "model", "pictures", "sources", "targets", "inputs")
"""What stands as a hash in what decides a task: no reader learns anything from its value."""
MADE_BY_OTHERS = ("model", "pictures", "sources", "targets", "inputs")
"""What other tasks make."""


class Looked(NamedTuple):
    """What there is of a task."""

    reasons: tuple[str, ...]
    """Why it is due; empty where it is done."""
    kept: dict[str, Any] | None = None
    """What it left in `.tasks/`, where it is done."""
    damaged: tuple[Path, ...] = ()
    """Files and folders that are not what was written; without a reason, such as decide no figure."""
    other: bool = False
    """What there is was made by other code or settings, and may be wanted under those."""


def look(study: Study, task: Task, by: Decided) -> Looked:
    """Whether a task is done under what decides it now, with everything that it left still as it was written.

    Where it is due here, what it left at the mirror is brought and looked at.
    """
    looked, mirror = _look(study, task, by), study.mirror
    if mirror is None or not (looked.reasons or looked.damaged):
        return looked
    # Where nothing is due, all else stays as it is here: it may be newer.
    came = mirror.fetch(task.name, again=not looked.other) if looked.reasons else mirror.mend(task.name, looked.damaged)
    before, looked = looked, _look(study, task, by) if came else looked
    if before.damaged and not looked.damaged:
        log.warning("brought again from %s: %s", mirror.url, before.damaged[0])
    return looked


def _look(study: Study, task: Task, by: Decided) -> Looked:
    if isinstance(task, Training):
        return _look_at_model(study, task, by)
    looked = look_at(study.out, task.name, by)
    if isinstance(task, Building) and not looked.reasons:
        try:
            study.open_set(task.pictures)
        except UserError as error:
            return Looked((str(error),), damaged=(study.set_folder(task.pictures),))
    return looked


def look_at(out: Path, name: str, by: Decided) -> Looked:
    """As `look`, by the task's name: what it left in `.tasks/`, and the hashes of the files that it wrote."""
    done = out / ".tasks"
    try:
        kept = read_memory(done, name)
        evaluation_of(kept or {}, str(done / f"{name}.json"))
    except UserError as error:
        return Looked((str(error),), damaged=(done / f"{name}.json",))
    if kept is None:
        return Looked((NEVER,))
    if kept.get("key") != by.key:
        return Looked(changes(kept.get("decided_by"), by.by), other=True)
    for path, digest in kept.get("files", {}).items():
        if not (out / path).is_file():
            return Looked((f"{out / path} is missing",))
        if sha256(out / path) != digest:
            return Looked((f"{out / path} is damaged (its hash differs)",), damaged=(out / path,))
    return Looked((), kept)


def _look_at_model(study: Study, task: Training, by: Decided) -> Looked:
    """A model says itself what made it, so that one that was brought here from elsewhere counts as well."""
    model = task.model
    folder = study.folder_of(model)
    if not (folder / RECIPE).is_file():
        return Looked(("begun, not finished" if (folder / STATE).is_file() else NEVER,))
    files = (folder / WEIGHTS, folder / RECIPE)
    try:
        made = read_provenance(folder)
        if made is None:
            return Looked((f"{folder / WEIGHTS} is missing",))
        if made.key != by.key and not study.settings.keep_models:
            return Looked(_other_training(study, task, by), other=True)
        found = study.examine(model)
    except UserError as error:
        return Looked((str(error),), damaged=tuple(path for path in files if path.is_file()))
    if made.key == by.key:
        if found.recipe == model.recipe and found.provenance.categories == model.categories:
            return Looked((), {}, _damaged_beside(study, task, by))
        return Looked((f"{folder / RECIPE} is damaged (its recipe is not that of its key)",), damaged=files)
    fits = _differs(study, model, found)
    return Looked(fits, None if fits else {"model": made.model, "commit": made.commit})


def _damaged_beside(study: Study, task: Training, by: Decided) -> tuple[Path, ...]:
    """What of a training is damaged or lost and decides no figure: its note, or the log that it tells the hash of."""
    note, log_file = study.done / f"{task.name}.json", study.folder_of(task.model) / LOG
    try:
        kept = read_memory(study.done, task.name)
    except UserError:
        kept = None
    if kept is None:
        return (note,)
    files = kept.get("files", {}) if kept.get("key") == by.key else {}
    digest = files.get(log_file.relative_to(study.out).as_posix())
    whole = digest is None or (log_file.is_file() and sha256(log_file) == digest)
    return () if whole else (log_file,)


def set_damaged_aside(looked: Looked) -> None:
    """Rename what is damaged, and say so in the log."""
    for path in looked.damaged:
        if not os.path.lexists(path):
            log.warning("done without %s, which is missing", path)
        elif looked.reasons:
            log.warning("made again, the damaged one is kept as %s: %s", set_aside(path), looked.reasons[0])
        else:
            log.warning("done without, the damaged one is kept as %s", set_aside(path))


def remembered(out: Path, name: str, by: Decided, make: Callable[[], Evaluation]) -> Evaluation:
    """What a task found, kept in `out` under all that decides it with the pictures that it wrote; else it is done."""
    looked = look_at(out, name, by)
    set_damaged_aside(looked)
    if looked.kept is not None and not looked.reasons:
        return evaluation_of(looked.kept, name)
    made = make()
    keep(out, name, by, asdict(made), [out / EXAMPLES / example.path for example in made.examples])
    return made


def _differs(study: Study, model: Model, found: Stored) -> tuple[str, ...]:
    """What of a training that was made under another key differs beside code, packages, device and textures."""
    made = found.provenance
    return changes(
        {
            "recipe": found.recipe.model_dump(mode="json"), "categories": made.categories, "seed": made.seed,
            "data": made.data_fingerprint,
        },
        {
            "recipe": model.recipe.model_dump(mode="json"), "categories": model.categories, "seed": study.plan.seed,
            "data": study.dataset.fingerprint,
        },
        unnamed=(),
    )  # fmt: skip


def _other_training(study: Study, task: Training, by: Decided) -> tuple[str, ...]:
    model = task.model
    made = read_provenance(study.folder_of(model))
    try:
        kept = read_memory(study.done, task.name)
    except UserError:
        kept = None
    if made and kept and kept.get("key") == made.key:
        return changes(kept.get("decided_by"), by.by)
    try:
        return _differs(study, model, study.examine(model)) or changes(None, by.by)
    except UserError:
        return changes(None, by.by)


@dataclass(frozen=True)
class Standing:
    """A task and why it is due; done where there is no reason."""

    task: Task | Reporting
    reasons: tuple[str, ...]

    @property
    def done(self) -> bool:
        return not self.reasons


def standings(study: Study, reporting: Callable[[], Decided] | None = None) -> list[Standing]:
    """What a run would do with each task, in order; nothing is written.

    A task that depends on one that is due is due itself. The run spares it after all where what it depends on comes
    out as it was.
    """
    found: list[Standing] = []
    due: dict[str, str] = {}
    tasks = graph(study)
    report = Reporting(tuple(task.name for task in tasks))
    for task in (*tasks, *([report] if reporting else [])):
        waits = tuple(f"depends on {due[name]}, which is due" for name in task.needs if name in due)
        if isinstance(task, Reporting):
            reasons = waits[:1] or (look_at(study.out, task.name, reporting()).reasons if reporting else ())
        elif waits:
            reasons = (*_own_reasons(study, task), *waits)
        else:
            reasons = look(study, task, decided(study, task)).reasons
        found.append(Standing(task, reasons))
        if reasons:
            due[task.name] = str(task)
    return found


def _own_reasons(study: Study, task: Task) -> tuple[str, ...]:
    """Why a task that waits for others would be due without them."""
    try:
        kept = read_memory(study.done, task.name)
    except UserError as error:
        return (str(error),)
    if kept is None:
        return (NEVER,)
    try:
        now = decided(study, task)
    except (UserError, OSError):
        return ()
    before = kept.get("decided_by")
    return changes(before, now.by, leave_out=MADE_BY_OTHERS, unnamed=()) if isinstance(before, dict) else ()


def keep(out: Path, name: str, by: Decided, value: Mapping[str, Any], files: Collection[Path] = ()) -> None:
    """Leave what a task found under its key, with all that decided it and the hashes of the files that it wrote."""
    digests = {path.relative_to(out).as_posix(): sha256(path) for path in files}
    remember(out / ".tasks", name, by.key, {**value, "decided_by": _plain(by.by), "files": digests})


def changes(
    before: Any, now: Mapping[str, Any], *, leave_out: Collection[str] = (), unnamed: tuple[str, ...] = UNNAMED
) -> tuple[str, ...]:
    """What differs between all that decided a task and all that decides it now, in words; `unnamed` where nothing is
    known to."""
    if not isinstance(before, dict):
        return unnamed
    old, new = _plain(before), _plain(now)
    said = []
    for name in dict.fromkeys((*new, *old)):
        if name in leave_out or old.get(name) == new.get(name):
            continue
        details = [] if name in HASHED else _details(old.get(name), new.get(name))
        said.append(f"{name} changed" + (f" ({', '.join(details[:3])})" if details else ""))
    return tuple(said) or unnamed


def _details(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in dict.fromkeys((*new, *old))
            if old.get(key) != new.get(key)
            for line in _details(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    pair = [json.dumps(value) if isinstance(value, list | dict) else str(value) for value in (old, new)]
    values = " to ".join(pair) if max(map(len, pair)) <= 40 else ""
    return [" ".join(part for part in (path, values) if part)] if path or values else []


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value, default=str))
