"""What a plan costs before it is begun: trainings, steps and images, counted from the records and the catalogue."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pandas as pd

from omnial_bench.attacks.specs import HELD_AGAINST_RIVALS
from omnial_bench.attacks.threats import kind_of
from omnial_bench.config.load import read_suite
from omnial_bench.config.schema import Plan, Suite, Threat
from omnial_bench.data.catalog import CATALOG, Category
from omnial_bench.errors import UserError, unknown
from omnial_bench.models.registry import describe
from omnial_bench.models.schedule import iterations_of
from omnial_bench.pipeline.plan import Model, models_of, sources_of

TRAINING, PASS = 3, 2
"""Forward passes that a training image costs (backwards to weights and inputs is twice forwards), and an attack's
pass (backwards to the input alone)."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """The work of one detector of a plan, over all its models and seeds."""

    dataset: str
    detector: str
    trainings: int
    steps: int
    """Optimiser steps."""
    trained: int
    """Images that pass forwards and backwards in training."""
    set_passes: int
    """Images times attack steps, forwards and backwards, of the sets on disk."""
    test_passes: int
    """The same of suites that attack the test split."""
    scored: int
    """Images that pass forwards: scored, or looked at by an attack without gradient or before an attack."""
    pflop: float
    """All of it in 10^15 multiplications and additions."""


def workload(plan: Plan, *, seeds: int = 1) -> list[Load]:
    """A row for every detector of a plan, with that many seeds; UserError for a data set without published counts."""
    counts = _counts(plan)
    models = models_of(plan)
    suites = [read_suite(name) for name in plan.suites]
    sources = sources_of(plan, models, suites)
    rows = []
    for name in dict.fromkeys(model.detector for model in models):
        own = [model for model in models if model.detector == name]
        steps = [iterations_of(model.recipe.training, _sum(counts, model, "train")) for model in own]
        trained = sum(step * model.recipe.training.batch for step, model in zip(steps, own, strict=True))
        among = sum(source.detector == name for source in sources)
        in_sets, in_tests, seen = 0, 0, 0
        for suite in suites:
            images = [_images(plan, suite, counts[category]) for category in plan.categories]
            if suite.against == "sources":
                seen += among * _looked(suite) * sum(map(sum, images))
            for threat in suite.threats:
                if suite.against == "sources":
                    in_sets += among * sum(_attacked(threat, *pair) for pair in images)
            for model in own:
                of_model = {category: _images(plan, suite, counts[category]) for category in model.categories}
                if suite.against == "sources":
                    seen += len(suite.threats) * sum(map(sum, of_model.values()))
                    continue
                seen += _looked(suite) * sum(map(sum, of_model.values()))
                for threat in suite.threats:
                    passes = sum(_attacked(threat, *pair) for pair in of_model.values())
                    by_gradient = kind_of(threat).spec.uses_gradient
                    in_tests += passes if by_gradient else 0
                    seen += 0 if by_gradient else passes
                for category, pair in of_model.items():
                    seen += (1 + len(suite.threats) * (1 + _others(models, model, suite, category))) * sum(pair)
        seen += sum(_sum(counts, model, "test_good") + _sum(counts, model, "test_defect") for model in own)
        flops = describe(own[0].recipe)["flops"]
        if flops is None:
            raise UserError(f"cannot count the work of {name}, whose code is not run; leave it out of the plan")
        everything = TRAINING * trained + PASS * (in_sets + in_tests) + seen
        rows.append(
            Load(
                dataset=plan.dataset, detector=name, trainings=len(own) * seeds, steps=sum(steps) * seeds,
                trained=trained * seeds, set_passes=in_sets * seeds, test_passes=in_tests * seeds,
                scored=seen * seeds, pflop=flops * everything * seeds / 1e15,
            )
        )  # fmt: skip
    return rows


def table(plans: Iterable[Plan], *, seeds: int = 1) -> pd.DataFrame:
    """The workload of several plans, a row for each data set and detector, and their sum."""
    rows = pd.DataFrame([asdict(load) for plan in plans for load in workload(plan, seeds=seeds)])
    total = {"dataset": "all", "detector": "all", **rows.drop(columns=["dataset", "detector"]).sum().to_dict()}
    rows = pd.concat([rows, pd.DataFrame([total])], ignore_index=True)
    return rows.astype(dict.fromkeys(rows.columns[2:-1], "int64"))


def _counts(plan: Plan) -> dict[str, Category]:
    entry = CATALOG.get(plan.dataset)
    if entry is None:
        raise unknown("data set", plan.dataset, CATALOG)
    for name in plan.categories:
        if name not in entry.categories:
            raise unknown("category", name, entry.categories)
        if entry.categories[name].train is None:
            raise UserError(f"expected published counts of {plan.dataset} {name}, there are none; try mvtec or visa")
    return {name: entry.categories[name] for name in plan.categories}


def _sum(counts: dict[str, Category], model: Model, part: str) -> int:
    return sum(int(getattr(counts[name], part)) for name in model.categories)


def _images(plan: Plan, suite: Suite, category: Category) -> tuple[int, int]:
    """Normal and anomalous images of a category that a suite works on."""
    if suite.against == "sources":
        drawn = min(n for n in (category.train, plan.limit or suite.limit) if n is not None)
        anomalous = round(suite.anomalous * drawn)
        return drawn - anomalous, anomalous
    good, defect = category.test_good or 0, category.test_defect or 0
    limits = [limit for limit in (plan.test_limit, suite.limit) if limit is not None]
    if limits and min(limits) < good + defect:
        # Taken in turn from every defect and the normal ones; how many defects there are the catalogue does not say.
        return min(good, min(limits) // 2), min(limits) - min(good, min(limits) // 2)
    return good, defect


def _looked(suite: Suite) -> int:
    """How often a suite shows each image to a detector for objectives that look beyond one image: as it is, with noise
    once for each ball, and twice more where a threat begins elsewhere."""
    looking = [threat for threat in suite.threats if threat.objective in HELD_AGAINST_RIVALS and threat.eps]
    balls = {(threat.after, threat.norm, threat.eps) for threat in looking if threat.start is None}
    return (
        len({threat.after for threat in looking}) + len(balls) + 2 * sum(threat.start is not None for threat in looking)
    )


def _attacked(threat: Threat, normal: int, anomalous: int) -> int:
    """Images that the goal attacks, times steps, and once more where each may begin at either of two places."""
    if not threat.eps:
        return 0
    chosen = {"hide": anomalous, "fabricate": normal}.get(threat.goal, normal + anomalous)
    either = threat.start is not None and threat.objective not in HELD_AGAINST_RIVALS
    return chosen * (threat.steps * threat.restarts + either)


def _others(models: Iterable[Model], model: Model, suite: Suite, category: str) -> int:
    return sum(one != model and category in one.categories for one in models) if suite.against == "each" else 0
