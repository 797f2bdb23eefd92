"""The task that builds an adversarial set on the source models of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from omnial_bench import provenance
from omnial_bench.attacks.sets.build import build_sets, compose
from omnial_bench.attacks.sets.manifest import NAME as MANIFEST
from omnial_bench.attacks.threats import codes_in
from omnial_bench.config.schema import Suite
from omnial_bench.errors import UserError
from omnial_bench.evaluation.outcome import Outcome
from omnial_bench.pipeline.task_cache import Entry, Inputs
from omnial_bench.pipeline.tasks import BUILDING_CODE, Kind, Task, code_hashes
from omnial_bench.progress import Watch, by_task
from omnial_bench.runtime import attack_dtype, placed

if TYPE_CHECKING:
    from omnial_bench.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Building(Task):
    """Build one adversarial set: a suite of one threat."""

    suite: Suite
    needs: tuple[str, ...]
    kind: ClassVar[Kind] = "set"

    @property
    def set(self) -> str:
        return self.suite.threats[0].name

    @property
    def name(self) -> str:
        return f"set-{self.set}"

    def __str__(self) -> str:
        return f"set {self.set}"

    def inputs(self, place: Workspace) -> Inputs:
        return Inputs.of(
            place.dataset.digests("train", place.plan.categories),
            code=provenance.code_version(*BUILDING_CODE), suite=self.suite.model_dump(mode="json", exclude={"title"}),
            sources=[place.identity(model.name) for model in place.sources], dataset=place.plan.dataset,
            seed=place.seed, **code_hashes(attacks=codes_in(self.suite)), **place.base(""),
        )  # fmt: skip

    def look(self, place: Workspace, inputs: Inputs) -> Entry:
        entry = super().look(place, inputs)
        if not entry.reasons:
            try:
                place.open_set(self.set)
            except UserError as error:
                return Entry((str(error),), damaged=(place.set_folder(self.set),))
        return entry

    def run(self, place: Workspace, inputs: Inputs | None, watch: Watch) -> Outcome:  # noqa: ARG002
        suite, plan, folder = self.suite, place.plan, place.set_folder(self.set)
        if folder.exists() and not (folder / MANIFEST).is_file():
            Entry((f"{folder} is no set",), damaged=(folder,)).set_damaged_aside()
        composed = compose(
            place.dataset.load("train", None, place.size), anomalous=suite.anomalous, limit=suite.limit,
            seed=plan.seed, dataset=plan.dataset, device=place.device,
        )  # fmt: skip
        sources = {model.name: place.load(model) for model in place.sources}
        build_sets(
            {name: placed(source.detector, place.device) for name, source in sources.items()}, composed, suite,
            out=place.out / "sets", seed=plan.seed, device=place.device,
            source_hashes={name: source.sha256 for name, source in sources.items()}, dataset=plan.dataset,
            data_fingerprint=place.dataset.fingerprint, progress=by_task(watch, "attack {}"),
            precision=attack_dtype(place.precision),
        )  # fmt: skip
        return Outcome()

    def written(self, place: Workspace, outcome: Outcome) -> list[Path]:  # noqa: ARG002
        return [place.set_folder(self.set) / MANIFEST]

    def sent(self, place: Workspace) -> list[Path]:
        folder = place.set_folder(self.set)
        manifest = folder / MANIFEST
        return [*(path for path in sorted(folder.rglob("*")) if path.is_file() and path != manifest), manifest]
