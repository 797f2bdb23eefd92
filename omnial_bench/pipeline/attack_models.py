"""Building adversarial sets one suite at a time, on paths: `attack`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from omnial_bench.attacks.sets.build import build_sets, compose
from omnial_bench.attacks.threats import check_suite
from omnial_bench.config.load import read_suite
from omnial_bench.data.dataset import scan
from omnial_bench.errors import UserError
from omnial_bench.evaluation.suited import check_suited
from omnial_bench.evaluation.target import load_trained
from omnial_bench.io.leftovers import swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import check_folder, make_folder
from omnial_bench.models.checkpoint import model_name
from omnial_bench.pipeline.own_detector import Elsewhere, weights_of
from omnial_bench.pipeline.plan import check_names
from omnial_bench.progress import Watch, by_task
from omnial_bench.runtime import Precision, attack_dtype, fabric, placed
from omnial_bench.types import Detector


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
    own: Elsewhere = Elsewhere(),  # noqa: B008
    reader: str | None = None,
) -> list[Path]:
    """Build the sets of a suite from the mean loss over checkpoints and detectors from elsewhere; the folders, one a
    threat. The suite, checkpoints and `reader`, which is as of `find_dataset`, may run the code that is `trusted`.

    UserError where one of these is a link or holds one.
    """
    suite = read_suite(suite_name, trusted)
    check_suite(suite)
    check_links(out, [threat.name for threat in suite.threats])
    if not (sources or own.detectors):
        raise UserError("expected a source or a detector to attack, got none; name one")
    own.check()
    trained = [load_trained(path, trusted=trusted) for path in sources]
    on = fabric(device, precision).device
    check_folder(out)
    wanted = categories or (sorted({name for source in trained for name in source.provenance.categories}) or None)
    known_as = {source.provenance.dataset for source in trained}
    name = known_as.pop() if len(known_as) == 1 else None
    dataset = scan(data, wanted, name=name, reader=reader, trusted=trusted)
    if own.detectors and own.paradigm == "separate" and len(dataset.categories) > 1:
        raise UserError(
            f"expected one category for separate detectors, for they share each image, got "
            f"{', '.join(dataset.categories)}; name one with --category"
        )
    models = [_Source(model.provenance.model, model.detector, model.sha256, model.recipe.size) for model in trained]
    for detector in own.wanted(dataset.categories):
        module = own.build(detector, dataset, device=on, seed=seed)
        title = model_name(detector.name, own.paradigm, detector.category)
        models.append(_Source(title, module, weights_of(module), own.size))
    check_names("sources", [model.name for model in models])
    for model in models:
        check_suited(model.detector, suite, model.name)
    sizes = {model.size for model in models}
    if len(sizes) > 1:
        raise UserError(f"the sources have different network sizes {sorted(sizes)}; attack them one at a time")
    normals = dataset.load("train", None, sizes.pop())
    composed = compose(normals, anomalous=suite.anomalous, limit=limit or suite.limit, seed=seed, dataset=dataset.name)
    with claimed(make_folder(out), alone=True), swept(out, deep=False):
        return build_sets(
            {model.name: placed(model.detector, on) for model in models}, composed, suite, out=out, seed=seed,
            device=on, source_hashes={model.name: model.sha256 for model in models}, dataset=dataset.name,
            data_fingerprint=dataset.fingerprint, progress=by_task(watch, "attack {}"),
            precision=attack_dtype(precision),
        )  # fmt: skip
