"""What is scored and attacked, with the first columns of its rows, and what comes of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from omnial_bench.attacks.sets.sealed import AdversarialSet
from omnial_bench.attacks.threats import columns_of, label_of
from omnial_bench.config.load import parse
from omnial_bench.config.schema import Threat
from omnial_bench.defences.registry import defended
from omnial_bench.evaluation.differences import Drawn
from omnial_bench.evaluation.examples import Example
from omnial_bench.metrics.accumulator import Metrics
from omnial_bench.metrics.alarms import RATE, Alarms
from omnial_bench.models.checkpoint import Trained, load, model_name
from omnial_bench.models.outside.adapter import check_detector
from omnial_bench.results import Attempt, Result
from omnial_bench.trust import is_foreign
from omnial_bench.types import Detector

DIGITS = 12
"""Of a hash, in a row."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The columns of a row that say what was scored on what."""

    detector: str
    paradigm: str
    preset: str
    dataset: str
    seed: int
    run: str
    set: str = "clean"
    threat: str = "none"
    source: str = "none"
    aim: str = "none"
    weights: str = ""
    attack: str = ""
    norm: str = ""
    eps: str = ""
    goal: str = ""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A model that is attacked or scored; `labels` are those of its rows on the clean test split."""

    detector: Detector
    labels: Labels

    categories: tuple[str, ...] = ()
    """Of a separate model the one that it was trained on."""
    metrics: Metrics = ()
    """From elsewhere, beside those that all rows have."""
    false_alarms: float = RATE
    """Of normal images, the share that its thresholds let raise an alarm."""

    def alarms(self, category: str) -> Alarms:
        """A count at the threshold of a category, if scores of held-out normal images are known to set one."""
        known = self.detector.normal_scores
        return Alarms(known.get(category) or known.get("") or (), self.false_alarms)

    @property
    def name(self) -> str:
        """What rows of other models call it as their source."""
        return model_name(self.labels.detector, self.labels.paradigm)

    @property
    def model(self) -> str:
        """What its folder is called."""
        return "-".join((self.name, *self.categories)) if self.labels.paradigm == "separate" else self.name


@dataclass(frozen=True)
class Outcome:
    """Everything that an evaluation gives: rows, how each attack went, images to show, and draws of images."""

    rows: list[Result] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    """What compares the models on the same images."""

    def extend(self, other: "Outcome") -> None:
        self.rows.extend(other.rows)
        self.attempts.extend(other.attempts)
        self.examples.extend(other.examples)
        self.drawn.extend(other.drawn)


def outcome_of(note: Mapping[str, Any], where: str) -> Outcome:
    """What the note of a finished task keeps of what it found; UserError where that is none."""
    return parse(Outcome, {each.name: note[each.name] for each in fields(Outcome) if each.name in note}, where)


def load_trained(path: str | Path, *, trusted: Collection[str] = ()) -> Trained:
    """A trained model from its folder or its checkpoint file, in eval mode on the CPU, in the defence of its recipe.

    UserError as of `checkpoint.load` and `defended`, and for a defence from elsewhere as of `check_detector`.
    """
    trained = load(path, trusted=trusted)
    recipe, where = trained.recipe, f"the recipe of {path}"
    detector = defended(trained.detector, recipe.defence, trusted=trusted, where=where).eval()
    if is_foreign(recipe.defence.get("name", "")):
        check_detector(detector, recipe.size)
    return replace(trained, detector=detector)


def load_detector(path: str | Path, *, device: str | torch.device = "cpu", trusted: Collection[str] = ()) -> Detector:
    """The trained detector at `path`, in eval mode on `device`; `trusted` and errors as of `load_trained`."""
    return load_trained(path, trusted=trusted).detector.to(device)


def labels_of(trained: Trained, run: str) -> Labels:
    """The labels of a trained model on the clean test split."""
    origin = trained.provenance
    return Labels(
        detector=origin.detector, paradigm=origin.paradigm, preset=trained.recipe.preset, dataset=origin.dataset,
        seed=origin.seed, run=run, weights=trained.sha256[:DIGITS],
    )  # fmt: skip


def labels_under(labels: Labels, threat: Threat, *, source: str, aim: str) -> Labels:
    """The labels of a model on test images under a threat, made on `source` to harm the figures that `aim` says."""
    return replace(labels, set=threat.name, source=source, aim=aim, **columns_of(threat, label_of(threat)))


def labels_on(labels: Labels, adversarial: AdversarialSet | None, model: str) -> Labels:
    """The labels of a model, which has that name among the sources of sets, on an adversarial set; None: as they
    are."""
    if adversarial is None:
        return labels
    return replace(
        labels, set=adversarial.name, source=adversarial.source, aim=adversarial.aim_at(model),
        **columns_of(adversarial.manifest.threat, adversarial.label),
    )  # fmt: skip
