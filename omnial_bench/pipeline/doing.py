"""What each kind of task does; what is there already, whole and under the same key, is taken as it is."""

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from omnial_bench.attacks.sets.build import build_sets, compose
from omnial_bench.attacks.sets.manifest import NAME as MANIFEST
from omnial_bench.errors import UserError
from omnial_bench.evaluation.evaluate import Evaluation, evaluate, evaluation_of
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.examples import Keeper, choose
from omnial_bench.evaluation.scoring import labels_of, labels_on, score
from omnial_bench.io.lock import shared
from omnial_bench.io.whole import make_folder
from omnial_bench.models.checkpoint import RECIPE, WEIGHTS, provenance_of
from omnial_bench.models.training import LOG, train
from omnial_bench.models.unfinished import STATE, is_whole
from omnial_bench.pipeline.cache import read_memory
from omnial_bench.pipeline.standing import Looked, keep, look, set_damaged_aside
from omnial_bench.pipeline.study import Decided, Study
from omnial_bench.pipeline.tasks import Building, Evaluating, Scoring, Task, Training, decided
from omnial_bench.progress import Progress, Watch
from omnial_bench.results import read_texts
from omnial_bench.runtime import attack_dtype, placed

log = logging.getLogger(__name__)


def do(study: Study, task: Task, watch: Watch) -> Evaluation:
    """Do a task if it is due, and give what it found; UserError where what it needs is not there."""
    with shared(make_folder(study.done)):
        return _do(study, task, watch)


def _do(study: Study, task: Task, watch: Watch) -> Evaluation:
    if study.mirror:
        for name in task.needs:
            study.mirror.fetch(name)
    by = decided(study, task)
    looked = look(study, task, by)
    set_damaged_aside(looked)
    found = _remembered(looked)
    if found is None:
        match task:
            case Training():
                found, paths = _train(study, task, by, watch), [study.folder_of(task.model) / LOG]
            case Building():
                found, paths = _build(study, task, watch), [study.set_folder(task.pictures) / MANIFEST]
            case Scoring():
                found = _scored(study, task, watch)
                paths = [study.out / EXAMPLES / example.path for example in found.examples]
            case Evaluating():
                found = _evaluated(study, task, watch)
                paths = [study.out / EXAMPLES / example.path for example in found.examples]
        keep(study.out, task.name, by, asdict(found), paths)
    elif looked.damaged:
        # Of a training, whose note is lost or damaged, or its log, which is out of the way by now.
        keep(study.out, task.name, by, asdict(found), _readable_logs(study, task))
    if study.mirror:
        study.mirror.send(task.name, left_by(study, task))
        if isinstance(task, Training):
            study.mirror.withdraw(_under_way(task))
    return replace(found, rows=[replace(row, run=study.run) for row in found.rows])


def left_by(study: Study, task: Task) -> list[Path]:
    """The files of a finished task, those that name and vouch for the others after them."""
    note = study.done / f"{task.name}.json"
    match task:
        case Training():
            folder = study.folder_of(task.model)
            files = [folder / name for name in (WEIGHTS, LOG, RECIPE)]
        case Building():
            folder = study.set_folder(task.pictures)
            manifest = folder / MANIFEST
            files = [*(path for path in sorted(folder.rglob("*")) if path.is_file() and path != manifest), manifest]
        case _:
            kept = read_memory(study.done, task.name) or {}
            files = [study.out / path for path in kept.get("files", {})]
    return [path for path in (*files, note) if path.is_file()]


def _remembered(looked: Looked) -> Evaluation | None:
    if looked.reasons or looked.kept is None:
        return None
    kept = looked.kept
    if "commit" in kept:
        log.warning("%s is kept as it was trained at commit %s", kept.get("model"), kept["commit"])
    return evaluation_of(kept, "a finished task")


def _readable_logs(study: Study, task: Task) -> list[Path]:
    """The log of a training, if it is there; one that is no table is set aside."""
    path = study.folder_of(task.model) / LOG if isinstance(task, Training) else None
    if path is None or not path.is_file():
        return []
    try:
        read_texts(path, ["iteration", "loss"])
    except UserError:
        set_damaged_aside(Looked((), damaged=(path,)))
        return []
    return [path]


def _under_way(task: Training) -> str:
    """The name under which a training that is not done yet lies at the mirror."""
    return f"{task.name}.saved"


def _train(study: Study, task: Training, by: Decided, watch: Watch) -> Evaluation:
    model, plan, mirror = task.model, study.plan, study.mirror
    if mirror:
        mirror.resume(_under_way(task), study.folder_of(model) / STATE, is_whole)
    describe = provenance_of(
        model.detector, model.paradigm, model.categories, dataset=plan.dataset,
        data_fingerprint=study.dataset.fingerprint, seed=plan.seed, precision=study.settings.precision, key=by.key,
    )  # fmt: skip
    train(
        model.recipe, study.dataset.load("train", model.categories, study.size), study.textures,
        out=study.folder_of(model), provenance=describe, seed=plan.seed, device=study.settings.device,
        devices=study.settings.devices, trusted=study.settings.trusted, precision=study.settings.precision,
        recompute=study.settings.recompute,
        progress=watch(str(task)), saved=partial(mirror.save, _under_way(task)) if mirror else None,
    )  # fmt: skip
    return Evaluation()


def _build(study: Study, task: Building, watch: Watch) -> Evaluation:
    suite, plan, folder = task.suite, study.plan, study.set_folder(task.pictures)
    if folder.exists() and not (folder / MANIFEST).is_file():
        set_damaged_aside(Looked((f"{folder} is no set",), damaged=(folder,)))
    composed = compose(
        study.dataset.load("train", None, study.size), anomalous=suite.anomalous, limit=suite.limit,
        seed=plan.seed, dataset=plan.dataset, device=study.device,
    )  # fmt: skip
    trained = {model.name: study.load(model) for model in study.sources}
    build_sets(
        {name: placed(found.detector, study.device) for name, found in trained.items()}, composed, suite,
        out=study.out / "sets", seed=plan.seed, device=study.device,
        source_hashes={name: found.sha256 for name, found in trained.items()}, dataset=plan.dataset,
        data_fingerprint=study.dataset.fingerprint, progress=by_threat(watch),
        precision=attack_dtype(study.settings.precision),
    )  # fmt: skip
    return Evaluation()


def by_threat(watch: Watch) -> Callable[[str, int, int], None]:
    """The builder's single stream of news as one progress a threat."""
    told: dict[str, Progress | None] = {}

    def tell(threat: str, done: int, total: int) -> None:
        if threat not in told:
            told[threat] = watch(f"attack {threat}")
        progress = told[threat]
        if progress is not None:
            progress(done, total, "")

    return tell


def _scored(study: Study, task: Scoring, watch: Watch) -> Evaluation:
    model, name = task.model, task.pictures
    trained = study.open_model(model)
    adversarial = None if name == "clean" else study.open_set(name)
    labels = labels_on(labels_of(trained, study.run), adversarial, model.name)
    progress, found = watch(str(task)), Evaluation()
    for done, category in enumerate(model.categories):
        pictures = adversarial.load(category) if adversarial else study.dataset.load("test", [category], study.size)
        chosen = choose(pictures)
        wanted = [pictures.ids[index] for index in chosen]
        originals = dict(zip(wanted, adversarial.originals(category)[chosen], strict=True)) if adversarial else {}
        keeper = Keeper(study.out, model=model.name, name=name, wanted=wanted, originals=originals)
        found.rows.extend(
            score(
                trained.detector, pictures, labels, category, device=study.device, viewer=keeper,
                drawn=found.drawn if name == "clean" else None,
            )
        )  # fmt: skip
        found.examples.extend(keeper.kept)
        if progress is not None:
            progress(done + 1, len(model.categories), category)
    return found


def _evaluated(study: Study, task: Evaluating, watch: Watch) -> Evaluation:
    model, suite = task.model, task.suite
    source, progress, found = study.target(study.open_model(model)), watch(str(task)), Evaluation()
    for category in model.categories:
        pictures = study.dataset.load("test", [category], study.size)
        others = [other for other in study.targets(model, suite) if category in other.categories]
        targets = (study.target(study.load(other)) for other in others)
        found.extend(
            evaluate(
                source, suite, pictures, category, targets, seed=study.plan.seed, device=study.device,
                precision=attack_dtype(study.settings.precision), limit=study.plan.test_limit, out=study.out,
                progress=progress,
            )
        )  # fmt: skip
    return found
