"""Building adversarial sets one suite at a time, on paths: `attack`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from omnial_bench.attacks.sets.build import build_sets, compose
from omnial_bench.attacks.threats import check_suite
from omnial_bench.config.load import read_suite
from omnial_bench.config.schema import Paradigm
from omnial_bench.data.dataset import Dataset, scan
from omnial_bench.errors import UserError
from omnial_bench.evaluation.suited import check_suited
from omnial_bench.evaluation.target import load_trained
from omnial_bench.io.leftovers import swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import check_folder, make_folder
from omnial_bench.models.checkpoint import model_name
from omnial_bench.pipeline.own_detector import Site, Wanted, check_own, detector_at, option_of, weights_of
from omnial_bench.pipeline.plan import check_names
from omnial_bench.pipeline.tasks import by_threat
from omnial_bench.progress import Watch
from omnial_bench.runtime import Precision, attack_dtype, fabric, placed
from omnial_bench.types import Detector


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """Detectors from elsewhere that sets are built on, written and trusted as in `score.Request`."""

    detectors: Sequence[str] = ()
    options: Sequence[str] = ()
    paradigm: Paradigm = "unified"
    held_out: Path | None = None
    size: tuple[int, int] = (256, 256)


class _Source(NamedTuple):
    name: str
    detector: Detector
    sha256: str
    size: tuple[int, int]


def attack_models(
    suite_name: str,
    sources: Sequence[str],
    *,
    data: Path,
    categories: Sequence[str] | None,
    limit: int | None,
    out: Path,
    device: str,
    precision: Precision,
    seed: int,
    watch: Watch,
    trusted: Sequence[str] = (),
    foreign: Foreign | None = None,
    reader: str | None = None,
) -> list[Path]:
    """Build the sets of a suite from the mean loss over checkpoints and detectors from elsewhere; the folders, one a
    threat. The suite, checkpoints and `reader`, which is as of `find_dataset`, may run the code that is `trusted`.

    UserError where one of these is a link or holds one.
    """
    suite = read_suite(suite_name, trusted)
    check_suite(suite)
    check_links(out, [threat.name for threat in suite.threats])
    foreign = foreign or Foreign()
    if not (sources or foreign.detectors):
        raise UserError("expected a source or a detector to attack, got none; name one")
    check_own(foreign.detectors, foreign.options, foreign.paradigm, foreign.held_out)
    found = [load_trained(path, trusted=trusted) for path in sources]
    on = fabric(device, precision).device
    check_folder(out)
    wanted = categories or (sorted({name for one in found for name in one.provenance.categories}) or None)
    known_as = {one.provenance.dataset for one in found}
    name = known_as.pop() if len(known_as) == 1 else None
    dataset = scan(data, wanted, name=name, reader=reader, trusted=trusted)
    models = [_Source(one.provenance.model, one.detector, one.sha256, one.recipe.size) for one in found]
    models += _foreign(foreign, dataset, on, seed)
    check_names("sources", [one.name for one in models])
    for one in models:
        check_suited(one.detector, suite, one.name)
    sizes = {one.size for one in models}
    if len(sizes) > 1:
        raise UserError(f"the sources have different network sizes {sorted(sizes)}; attack them one at a time")
    normals = dataset.load("train", None, sizes.pop())
    composed = compose(normals, anomalous=suite.anomalous, limit=limit or suite.limit, seed=seed, dataset=dataset.name)
    with claimed(make_folder(out), alone=True), swept(out, deep=False):
        return build_sets(
            {one.name: placed(one.detector, on) for one in models}, composed, suite, out=out, seed=seed,
            device=on, source_hashes={one.name: one.sha256 for one in models}, dataset=dataset.name,
            data_fingerprint=dataset.fingerprint, progress=by_threat(watch), precision=attack_dtype(precision),
        )  # fmt: skip


def _foreign(foreign: Foreign, dataset: Dataset, device: torch.device, seed: int) -> list[_Source]:
    """The detectors from elsewhere, on a device."""
    if foreign.detectors and foreign.paradigm == "separate" and len(dataset.categories) > 1:
        raise UserError(
            f"expected one category for separate detectors, for they share each image, got "
            f"{', '.join(dataset.categories)}; name one with --category"
        )
    made, own = [], dataset.categories[0] if foreign.paradigm == "separate" else None
    for wanted in map(Wanted.named, foreign.detectors):
        site = Site(
            dataset=dataset, categories=dataset.categories, size=foreign.size, device=device, seed=seed,
            options=dict(map(option_of, foreign.options)), held_out=foreign.held_out,
        )  # fmt: skip
        detector = detector_at(site, wanted.factory, name=wanted.name)
        name = model_name(wanted.name, foreign.paradigm, own)
        made.append(_Source(name, detector, weights_of(detector), foreign.size))
    return made
