"""What a command asks to have scored, and its models, sets and data: what every task of it looks things up in."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from omnial_bench import provenance
from omnial_bench.attacks.sets.sealed import AdversarialSet, load_set
from omnial_bench.config.load import read_suite
from omnial_bench.data.dataset import Dataset, Truth, find_dataset
from omnial_bench.data.images import Images
from omnial_bench.defences.registry import defence_code, defended
from omnial_bench.errors import UserError
from omnial_bench.evaluation.target import DIGITS, Labels, Target, labels_of, load_trained
from omnial_bench.metrics.accumulator import metrics_named
from omnial_bench.metrics.alarms import RATE
from omnial_bench.models.checkpoint import WEIGHTS, model_name, read_provenance
from omnial_bench.models.outside.adapter import check_detector
from omnial_bench.pipeline.own_detector import Elsewhere, Wanted, option_of, weights_of
from omnial_bench.pipeline.task_cache import Cache
from omnial_bench.pipeline.train_task import identity_at
from omnial_bench.runtime import Precision, fabric
from omnial_bench.types import Detector


@dataclass(frozen=True, kw_only=True)
class Request(Elsewhere):
    """What is to be scored on what; detectors from elsewhere as of Elsewhere."""

    data: Path
    out: Path
    checkpoints: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    """`package.module:object` that suites and checkpoints may run, and the reader."""
    reader: str | None = None
    labels: Truth | None = None
    sets: tuple[Path, ...] = ()
    suites: tuple[str, ...] = ()
    """Suites that attack each model itself, or every model with each."""
    categories: tuple[str, ...] | None = None
    """Of detectors from elsewhere; a checkpoint is scored on its own."""
    limit: int | None = None
    """Test images a category under attack at the most; a suite's own limit holds too."""
    seed: int | None = None
    """In the rows; None: that of each training, 0 for detectors from elsewhere."""
    device: str = "auto"
    precision: Precision = "32-true"
    jobs: int = 1
    false_alarms: float = RATE
    """Of normal images, the share that decision thresholds let raise an alarm."""
    metrics: tuple[str, ...] = ()
    """Metrics from elsewhere, `package.module:object`, trusted as `detectors` are."""
    defence: str | None = None
    """What stands around every model: a name of DEFENCES, or `package.module:object`, trusted as `detectors` are, and
    after it `key=value` for its keywords, with blanks between. Rows name it after the detector."""

    def dataset(self, categories: Sequence[str] | None, *, name: str | None = None) -> Dataset:
        return find_dataset(
            self.data, categories, name=name, reader=self.reader, trusted=self.trusted, labels=self.labels
        )


class RequestedModel(NamedTuple):
    """A model with what it is scored on."""

    target: Target
    categories: tuple[str, ...]
    size: tuple[int, int]
    dataset: Dataset

    def on(self, adversarial: AdversarialSet | None) -> tuple[str, ...]:
        """Its categories that a set has, or all of them on the clean test split."""
        if adversarial is None:
            return self.categories
        return tuple(name for name in self.categories if name in adversarial.categories)


class Desk:
    """A request with its data; every process that does tasks of it makes its own."""

    def __init__(self, request: Request) -> None:
        self.request, self.cache = request, Cache(request.out)
        self.seed, self.limit, self.precision = request.seed or 0, request.limit, request.precision
        self.suites = [read_suite(name, request.trusted) for name in request.suites]
        self.metrics = request.metrics
        self.own_metrics = metrics_named(request.metrics, request.metrics, "the command")
        sets = [load_set(folder) for folder in request.sets]
        self.sets = dict(zip(_distinct([adversarial.name for adversarial in sets], ["clean"]), sets, strict=True))
        self.device = fabric(request.device, request.precision).device
        words = (request.defence or "").split()
        self.defence = {**dict(map(option_of, words[1:])), "name": words[0]} if words else {}
        # The last one stays at hand, for tasks come a model at a time.
        self.model = lru_cache(maxsize=1)(self.open)

    @cached_property
    def names(self) -> dict[str, str | Wanted]:
        """What is asked for, checkpoints by their paths, by the names of the models."""
        request = self.request
        one_each = request.detectors and request.paradigm == "separate"
        categories = request.dataset(request.categories).categories if one_each else ()
        asked: list[str | Wanted] = [*request.checkpoints, *request.wanted(categories)]
        return dict(zip(_distinct([self._name(model) for model in asked]), asked, strict=True))

    def _name(self, model: str | Wanted) -> str:
        if isinstance(model, Wanted):
            return model_name(model.name, self.request.paradigm, model.category)
        # What is wrong with it is said in full when it is opened.
        with suppress(UserError):
            if origin := read_provenance(_folder(model)):
                return origin.model
        return Path(model).name

    def told(self) -> dict[str, dict[str, str]]:
        """What the checkpoints say that reports call their detectors, and of which families these are."""
        found = [read_provenance(_folder(asked)) for asked in self.names.values() if isinstance(asked, str)]
        origins = [origin for origin in found if origin]
        return {
            "titles": {origin.detector: origin.title for origin in origins if origin.title},
            "families": {origin.detector: origin.family for origin in origins if origin.family is not None},
        }

    def open(self, name: str) -> RequestedModel:
        """A model, beside the one at hand."""
        asked = self.names[name]
        model = self._from_elsewhere(asked) if isinstance(asked, Wanted) else self._trained(asked)
        if not self.defence:
            return model
        target, name = model.target, self.defence["name"]
        detector = defended(target.detector, self.defence, trusted=[name], where="the command").eval()
        check_detector(detector.to(self.device), model.size, self.device)
        labels = replace(target.labels, detector=f"{target.labels.detector}-{name.rpartition(':')[2].lower()}")
        return model._replace(target=replace(target, detector=detector, labels=labels))

    def target(self, model: str) -> Target:
        return self.model(model).target

    def other_target(self, model: str) -> Target:
        return self.open(model).target

    def identity(self, model: str) -> dict[str, Any] | None:
        """None for code from elsewhere, whose results are never taken for done."""
        asked = self.names[model]
        if isinstance(asked, Wanted):
            return None
        around = {"around": {**self.defence, **defence_code(self.defence)}} if self.defence else {}
        return identity_at(_folder(asked)) | around

    def images(self, model: str, category: str) -> Images:
        requested = self.model(model)
        return requested.dataset.load("test", [category], requested.size)

    def files(self, model: str, category: str) -> dict[str, str]:
        return self.model(model).dataset.digests("test", [category])

    def open_set(self, name: str) -> AdversarialSet:
        return self.sets[name]

    def base(self, model: str) -> dict[str, Any]:
        dataset = self.model(model).dataset
        return {
            "versions": provenance.versions(), "device": self.device.type, "precision": self.precision,
            "dataset": dataset.name, **dataset.named_by, "row_seed": self.request.seed,
            "false_alarms": self.request.false_alarms,
        }  # fmt: skip

    def _trained(self, path: str) -> RequestedModel:
        trained, request = load_trained(path, trusted=self.request.trusted), self.request
        origin = trained.provenance
        dataset = request.dataset(origin.categories, name=origin.dataset)
        labels = labels_of(trained, provenance.key_of(model=trained.sha256, data=dataset.fingerprint)[:8])
        labels = labels if request.seed is None else replace(labels, seed=request.seed)
        target = self._target(trained.detector, labels, origin.categories)
        return RequestedModel(target, origin.categories, trained.recipe.size, dataset)

    def _from_elsewhere(self, wanted: Wanted) -> RequestedModel:
        request, only = self.request, () if wanted.category is None else (wanted.category,)
        dataset = request.dataset(request.categories)
        detector = request.build(wanted, dataset, device=self.device, seed=self.seed)
        labels = Labels(
            detector=wanted.name, paradigm=request.paradigm, preset="given", dataset=dataset.name, seed=self.seed,
            run=provenance.key_of(detector=wanted.factory, options=request.options, data=dataset.fingerprint)[:8],
            weights=weights_of(detector)[:DIGITS],
        )  # fmt: skip
        return RequestedModel(self._target(detector, labels, only), only or dataset.categories, request.size, dataset)

    def _target(self, detector: Detector, labels: Labels, categories: tuple[str, ...]) -> Target:
        return Target(
            detector=detector, labels=labels, categories=categories, metrics=self.own_metrics,
            false_alarms=self.request.false_alarms,
        )  # fmt: skip


def _folder(checkpoint: str) -> Path:
    path = Path(checkpoint)
    return path.parent if path.name == WEIGHTS else path


def _distinct(names: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Names of which none is there twice or taken: those that would be get their number."""
    twice = {name for name in names if names.count(name) > 1 or name in taken}
    return [f"{name}-{index + 1}" if name in twice else name for index, name in enumerate(names)]
