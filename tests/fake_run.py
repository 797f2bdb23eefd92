"""A run folder drawn by numpy: rows, logs, manifests and example images as the benchmark leaves them."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from omnial_bench.io.whole import write_json, write_text
from omnial_bench.metrics.metric import METRICS
from omnial_bench.reports.table import Table
from omnial_bench.results import HEADLINE, Difference, Result, differences_frame, frame, write_rows

DETECTORS = ("draem", "jnld", "omnial")
PARADIGMS = ("unified", "separate")
SETS = {"unattacked": "none", "pgd-4": "linf 4/255", "pgd-8": "linf 8/255", "pgd-8-targeted": "linf 8/255 targeted"}
SOURCE = "draem-unified+jnld-unified+omnial-unified"
HIT = {"clean": 0.0, "unattacked": 0.0, "pgd-4": 0.16, "pgd-8": 0.31, "pgd-8-targeted": 0.42}


def fake_rows(*, sets: dict[str, str] = SETS, **how: Any) -> pd.DataFrame:
    """Plausible rows: sets hurt more with eps, sources (unified) more than the rest, chance levels beside AP."""
    return _rows(tuple(sets.items()), **how).copy()


@cache
def _rows(
    sets: tuple[tuple[str, str], ...],
    categories: tuple[str, ...] = ("bottle", "grid"),
    counts: tuple[int, ...] = (83, 78),
    dataset: str = "mvtec_ad",
    detectors: tuple[str, ...] = DETECTORS,
    source: str = SOURCE,
) -> pd.DataFrame:
    attacked = set(source.split("+"))
    images = (*counts, sum(counts))
    rows = []
    models = product(enumerate(detectors), PARADIGMS)
    for ((d, detector), paradigm), (name, threat) in product(models, (("clean", "none"), *sets)):
        hit = HIT.get(name, 0.2) * (1.0 if paradigm == "unified" else 0.55) * (1.2 - 0.2 * d)
        table = {}
        for c, category in enumerate(categories):
            base = 0.82 + 0.05 * d - 0.06 * c + (0.02 if paradigm == "separate" else 0)
            table[category] = {
                **{metric: min(0.998, base + 0.012 * (m % 4) - hit) for m, metric in enumerate(METRICS)},
                "pixel_ap": base - 0.35 - 0.7 * hit + (0.15 if name != "clean" else 0),
                "psnr": 31.0 + d - 14 * hit, "ssim": 0.93 + 0.01 * d - 0.6 * hit,
                "image_ap_chance": 63 / 83 if name == "clean" else 0.8,
                "pixel_ap_chance": 0.031 if name == "clean" else 0.062,
            }  # fmt: skip
        own = [bool(attacked & {f"{detector}-{paradigm}", f"{detector}-{paradigm}-{c}"}) for c in (*categories, "mean")]
        aims = ["none" if threat == "none" else "pixel" if mine else "other" for mine in own]
        rows += _results(
            table, images if name == "clean" else [40] * len(images), aims, detector=detector, paradigm=paradigm,
            dataset=dataset, set=name, threat=threat, source=source if threat != "none" else "none", seed=0,
            **_ball(threat, "pgd"),
        )  # fmt: skip
    return frame(rows)


def _results(
    table: dict[str, dict[str, float]], counts: Sequence[int], aims: Sequence[str], **facts: Any
) -> Iterator[Result]:
    """Rows of a model on a set: each category's figures and their means, of so many images, attacked for these aims."""
    names = next(iter(table.values()))
    table = {**table, "mean": {name: float(np.mean([part[name] for part in table.values()])) for name in names}}
    for (category, figures), n, aim in zip(table.items(), counts, aims, strict=True):
        for metric, value in figures.items():
            yield Result(
                **facts, category=category, metric=metric, value=value, n=n, aim=aim, preset="small", run="abc123"
            )


def _ball(threat: str, attack: str) -> dict[str, str]:
    """What the rows say of a threat of that label, which is measured by another scale where it names no norm."""
    norm, eps, *more = (*threat.split(), "")
    if threat == "none" or threat.startswith("worst"):
        return {}
    told = {"attack": attack, "goal": {"targeted": "target", "foreground": "any", "": "any"}.get(more[0], more[0])}
    return {**told, "norm": norm, "eps": eps} if norm in ("linf", "l2") else told | {"goal": "any"}


def fake_run(run: Path, *, size: tuple[int, int] = (96, 96)) -> Path:
    """A whole run folder under `run`; images are `size` (height, width)."""
    random = np.random.default_rng(0)
    write_rows(run / "results.csv", fake_rows())
    plan = """name = "fake"
title = "Fake run & <its> title_with #signs"
dataset = "mvtec_ad"
categories = ["bottle", "grid"]
detectors = ["draem", "jnld", "omnial"]
preset = "small"
"""
    write_text(run / "plan.toml", plan)
    environment = {
        "versions": {"torch": "2.11.0", "numpy": "2.4.1", "omnial-bench": "0.1.0"}, "python": "3.11.9",
        "platform": "Linux-6.1-x86_64", "device": "cpu", "precision": "32-true", "commit": "0123456789abcdef",
        "command": "omnial-bench run plans/fake.toml --data data_*_[x] --out $RUN", "seed": 0,
        "started": "2026-01-02T03:04:05Z", "dataset": {"name": "mvtec_ad", "fingerprint": "f" * 64, "root": "data"},
        "data_notice": "Images: invented.",
    }  # fmt: skip
    write_json(run / "environment.json", environment)
    for detector in DETECTORS:
        for name in (f"{detector}-unified", f"{detector}-separate-bottle", f"{detector}-separate-grid"):
            _log(run / "models" / name / "log.csv", random)
            recipe = f'[recipe]\ndetector = "{detector}"\npreset = "small"\nsize = [96, 96]\n'
            recipe += "[recipe.training]\nepochs = 7.0\nbatch = 8\nlr = 1e-4\n[provenance]\niterations = 120\n"
            write_text(run / "models" / name / "recipe.toml", recipe)
    for name, label in SETS.items():
        _manifest(run / "sets" / name / "manifest.json", name, label)
    _examples(run / "examples", size, random)
    return run


def _log(path: Path, random: np.random.Generator) -> None:
    lines = ["iteration,loss,focal,ssim,lr,images_per_second,validation_ap"]
    for i in range(1, 121):
        loss = 1.6 * np.exp(-i / 30) + 0.25 + 0.08 * random.random()
        validation = f"{0.8 * (1 - np.exp(-i / 40)):.6f}" if i % 20 == 0 else ""
        lines.append(f"{i},{loss:.6f},{loss / 2:.6f},{loss / 2:.6f},0.0001,55.0,{validation}")
    write_text(path, "\n".join(lines) + "\n")


def _manifest(path: Path, name: str, label: str) -> None:
    """What a report and a check read of one."""
    up = -1 if "targeted" in name else 1
    steps = [1.2 + up * HIT[name] * 2 * (1 - float(np.exp(-i / 3))) for i in range(10)] if label != "none" else []
    threat = {
        "name": name, "attack": "pgd", "objective": "balanced", "goal": "any", "norm": "linf", "eps": "8/255",
        "where": "frame", "steps": 10, "step_size": None, "restarts": 1, "options": {},
    }  # fmt: skip
    counts = {category: {"good": 8, "synthetic": 32} for category in ("bottle", "grid")}
    largest = {"none": 0, "linf 4/255": 4}.get(label, 8)
    write_json(path, {"threat": threat, "loss": {"steps": steps}, "counts": counts, "largest_change": largest})


def _examples(folder: Path, size: tuple[int, int], random: np.random.Generator) -> None:
    index: list[tuple[str, ...]] = []
    h, w = size
    y, x = np.mgrid[0:h, 0:w]
    truth = ((y - h * 0.4) ** 2 + (x - w * 0.6) ** 2 < (h * 0.15) ** 2).astype(np.uint8) * 255

    def put(images: dict[str, np.ndarray], *row: str) -> None:
        for role, image in images.items():
            path = "/".join(row[:3]) + f"/{row[3]}-{row[4].replace('/', '_')}-{role}.png"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / path)
            index.append((*row, role, path))

    for (c, category), detector in product(enumerate(("bottle", "grid")), DETECTORS):
        waves = np.sin(x / (5 + 3 * c)) * np.sin(y / (9 - 3 * c))
        clean = np.stack([128 + 60 * waves, 120 + 50 * waves, 90 + 30 * waves], axis=-1)
        spoiled = np.where(truth[..., None] > 0, 255 - clean, clean)
        for panel in ("left", "right", "top", "bottom", "all") if detector == "omnial" else ("all",):
            labels = np.where(truth > 0, 85 * (1 + (x + y) // 9 % 3), 0)
            images = {"input": spoiled, "truth": labels, "clean": clean}
            put(images, detector, "synthesis", category, panel, f"{category}/train/good/000")
        for paradigm, name in product(PARADIGMS, ("clean", *SETS)):
            defect = "broken" if name == "clean" else "synthetic"
            levels = 0 if name in ("clean", "unattacked") else 4 if name == "pgd-4" else 8
            images = {
                "input": spoiled + levels * random.choice([-1, 1], size=(h, w, 3)), "truth": truth,
                "reconstruction": clean + 6 * random.standard_normal(clean.shape),
                "map": np.clip(truth * 0.8 + 12 * levels * random.random((h, w)), 0, 255),
            }  # fmt: skip
            images |= {} if name == "clean" else {"original": spoiled, "clean": clean}
            put(images, f"{detector}-{paradigm}", name, category, defect, f"{category}/test/{defect}/000")
    names = ["model", "set", "category", "defect", "id", "role", "path"]
    write_text(folder / "index.csv", pd.DataFrame(index, columns=names).to_csv(index=False, lineterminator="\n"))


LOSS = {"any": (0.7, 1.9), "hide": (1.4, 0.2), "fabricate": (1.2, 0.15)}
GOALS = {"white-box-any": "any", "white-box-hide": "hide", "white-box-fabricate": "fabricate"}
CORRUPTIONS = ("blur", "brightness", "contrast", "gaussian_noise", "jpeg")
CHECKS = (
    "iterative beats one-step", "white-box beats transfer", "PGD beats noise", "larger eps never helps",
    "huge eps breaks", "more steps change little", "loss rises", "no zero gradients", "gradient is whole",
    "Square does not beat PGD", "bound holds",
)  # fmt: skip
ATTACKS = (
    # suite, set, label, attack, objective, goal, eps, where, steps, hit
    ("white-box", "white-box-any", "linf 8/255", "pgd", "balanced", "any", 8, "frame", 20, 0.75),
    ("white-box", "white-box-hide", "linf 8/255 hide", "pgd", "balanced", "hide", 8, "frame", 20, 0.5),
    ("white-box", "white-box-fabricate", "linf 8/255 fabricate", "pgd", "balanced", "fabricate", 8, "frame", 20, 0.42),
    ("white-box", "white-box-foreground", "linf 8/255 foreground", "pgd", "balanced", "any", 8, "foreground", 20, 0.4),
    ("white-box", "white-box-score", "linf 8/255", "pgd", "image_score", "any", 8, "frame", 20, 0.6),
    *(("curve", f"curve-{e}", f"linf {e}/255", "pgd", "balanced", "any", e, "frame", 20, h)
      for e, h in ((1, 0.12), (2, 0.28), (4, 0.5), (8, 0.7), (16, 0.85))),
    ("worst-case", "worst-apgd", "linf 8/255", "apgd", "balanced", "any", 8, "frame", 20, 0.77),
    ("worst-case", "worst-cospgd", "linf 8/255", "pgd", "cospgd", "any", 8, "frame", 20, 0.72),
    ("worst-case", "worst-score", "linf 8/255", "apgd", "image_score", "any", 8, "frame", 20, 0.7),
    ("worst-case", "worst-hide", "linf 8/255 hide", "pgd", "balanced", "hide", 8, "frame", 20, 0.52),
    ("worst-case", "worst-square", "linf 8/255", "square", "balanced", "any", 8, "frame", 400, 0.2),
)  # fmt: skip


def fake_suites(*, seeds: tuple[int, ...] = (0,)) -> pd.DataFrame:
    """Plausible rows of the test suites white-box, curve, worst-case, transfer and corruptions, with their controls."""
    rows = []
    attacks = {attack[1]: attack[3] for attack in ATTACKS} | {"transfer-pgd": "pgd"}
    models = list(product(enumerate(DETECTORS), enumerate(PARADIGMS)))
    for seed, ((d, detector), (p, paradigm)) in product(seeds, models):
        tough = 1.0 - 0.12 * d - 0.1 * p
        shown = [(f"{suite}-unattacked", "none", "none", 0.0) for suite in _SUITES]
        shown += [(name, label, "self", hit * tough) for _, name, label, *_, hit in ATTACKS]
        shown.append(("worst-case-worst", "worst of 5", "self", 0.85 * tough))
        for (s, other), (q, kind) in models:
            same = (s, q) == (d, p)
            hit = 0.6 if same else 0.2 + 0.05 * (s == d)
            shown.append(("transfer-pgd", "linf 8/255", "self" if same else f"{other}-{kind}", hit * tough))
        shown += [
            (f"{name}-{step}", f"{name} severity {step}", "self", 0.03 * step * (1 + k / 4) * tough)
            for k, name in enumerate(CORRUPTIONS)
            for step in range(1, 6)
        ]
        for name, threat, source, hit in shown:
            rows += _results(
                {c: _suite_figures(d, k, name, hit, seed) for k, c in enumerate(("bottle", "grid"))},
                (32, 32, 64), [_aim(name, source)] * 3, detector=detector, paradigm=paradigm, dataset="mvtec_ad",
                set=name, threat=threat, source=source, seed=seed,
                **_ball(threat, attacks.get(name, name.rpartition("-")[0])),
            )  # fmt: skip
    return frame(rows)


def _aim(name: str, source: str) -> str:
    objectives = {attack[1]: attack[4] for attack in ATTACKS}
    if source != "self":
        return "none" if source == "none" else "other"
    if name in objectives:
        return "image" if objectives[name] == "image_score" else "pixel"
    return {"worst-case-worst": "image+pixel", "transfer-pgd": "pixel"}.get(name, "none")


_SUITES = ("white-box", "curve", "worst-case", "transfer", "corruptions")


def _suite_figures(d: int, c: int, name: str, hit: float, seed: int) -> dict[str, float]:
    base = 0.84 + 0.04 * d - 0.05 * c + 0.01 * seed * (1 + d)
    image = 1.35 if name.endswith("hide") else 0.9
    figures = {"image_auroc": base + 0.04 - image * hit, "image_ap": base, "pixel_auroc": base + 0.02 - hit}
    figures |= {"pixel_ap": (base - 0.35) * (1 - hit) ** 2, "pixel_aupro": base - 0.1 - 0.8 * hit, "psnr": 30.0 - hit}
    figures |= {"ssim": 0.9 - 0.1 * hit, "image_ap_chance": 0.76, "pixel_ap_chance": 0.034}
    return {key: max(0.0, value) for key, value in figures.items()}


def fake_attempts(*, seeds: tuple[int, ...] = (0,), n: int = 32) -> pd.DataFrame:
    """attacks.csv of the same suites."""
    rows = []
    transfer = ("transfer", "transfer-pgd", "linf 8/255", "pgd", "balanced", "any", 8, "frame", 10, 0.6)
    models = product(seeds, enumerate(DETECTORS), PARADIGMS, ("bottle", "grid"))
    for (seed, (d, detector), paradigm, category), threat in product(models, (*ATTACKS, transfer)):
        suite, name, _, attack, objective, goal, eps, where, steps, hit = threat
        low, high = LOSS[goal]
        reach = low + (high - low) * (hit + 0.05 * d)
        losses = [reach + (low - reach) * float(np.exp(-i / 4)) for i in range(0 if attack == "square" else steps)]
        rows.append({
            "suite": suite, "set": name, "detector": detector, "paradigm": paradigm, "category": category,
            "source": "self", "attack": attack, "objective": objective, "goal": goal, "norm": "linf",
            "eps": f"{eps}/255", "where": where, "steps": steps, "restarts": 1, "n": n,
            "attacked": n if goal == "any" else n // 2, "flat": "" if attack == "square" else 0,
            "largest_change": eps, "losses": " ".join(map(repr, losses)),
            "direction": "up" if goal == "any" else "down", "seed": seed, "run": "abc123",
        })  # fmt: skip
    return pd.DataFrame(rows)


def fake_health() -> pd.DataFrame:
    """health.csv: Square beats PGD for DRAEM unified, noise does for JNLD separate, one check is not run for JNLD."""
    rows = []
    for detector, paradigm, (k, check) in product(DETECTORS, PARADIGMS, enumerate(CHECKS)):
        failed = (check, detector, paradigm) in (
            ("Square does not beat PGD", "draem", "unified"), ("PGD beats noise", "jnld", "separate"),
        )  # fmt: skip
        row = {"check": check, "detector": detector, "paradigm": paradigm, "category": "mean"}
        if check == "no zero gradients" and detector == "jnld":
            note = "needs an attack that takes a gradient, as in suite white-box"
            row |= {"set": "", "figure": "", "reference": "", "status": "not run", "note": note}
        else:
            figure, reference = 0.521 if failed else 0.12 + 0.03 * k, 0.41 + 0.01 * k
            row |= {
                "set": "health-long" if check == "more steps change little" else "white-box-any", "figure": figure,
                "reference": reference, "status": "failed" if failed else "passed",
                "note": f"pixel AUROC {figure:.3f} under white-box-any, {reference:.3f} under health-other",
            }  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def fake_differences(rows: pd.DataFrame, width: float, sets: tuple[str, ...]) -> pd.DataFrame:
    """differences.csv of rows in these sets, each interval as far as `width` to both sides."""
    found = []
    for (name, source, category, metric, seed), part in rows[
        rows["set"].isin(sets) & rows["source"].isin(["none", "self"]) & rows["metric"].isin(HEADLINE)
    ].groupby(["set", "source", "category", "metric", "seed"], sort=False):
        for one, other in combinations(part.to_dict("records"), 2):
            gap = one["value"] - other["value"]
            found.append(
                Difference(
                    dataset=one["dataset"], category=category, set=name, source=source, metric=metric,
                    detector=one["detector"], paradigm=one["paradigm"], preset=one["preset"],
                    other_detector=other["detector"], other_paradigm=other["paradigm"], other_preset=other["preset"],
                    difference=gap, low=gap - width, high=gap + width, n=one["n"], seed=seed,
                )
            )  # fmt: skip
    return differences_frame(found)


def fake_campaign(run: Path, *, size: tuple[int, int] = (96, 96)) -> Path:
    """A run folder with test suites beside the fixed sets: rows, attacks.csv, health.csv, images with notes."""
    fake_run(run, size=size)
    write_rows(run / "results.csv", pd.concat([fake_rows(), fake_suites()], ignore_index=True))
    write_records(run)
    _extremes(run / "examples")
    return run


def write_records(run: Path, **tables: pd.DataFrame) -> None:
    """attacks.csv and health.csv, as invented or as given, and what other tables are given."""
    for name, table in {"attacks": fake_attempts(), "health": fake_health(), **tables}.items():
        write_text(run / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))


def cells(table: Table) -> list[list[str]]:
    """What a reader sees in the cells of a table."""
    return [[cell.text for cell in line] for _, line, _ in table.lines()]


def _extremes(folder: Path) -> None:
    """The run's clean images again, attacked by the white-box threats, as the strongest and the weakest."""
    index = pd.read_csv(folder / "index.csv", dtype=str, keep_default_na=False).assign(note="")
    clean = index[(index["set"] == "pgd-8")]
    parts = [index]
    for name in GOALS:
        for note in ("strongest", "weakest"):
            for paradigm, category in (("unified", ""), ("separate", "-")):
                mine = clean[clean["model"].str.endswith(f"-{paradigm}")].copy()
                mine["model"] += [f"{category}{row}" if category else "" for row in mine["category"]]
                mine["id"] = [f"{row}/test/broken/{note}" for row in mine["category"]]
                parts.append(mine.assign(set=name, defect="broken", note=note))
    table = pd.concat(parts, ignore_index=True)
    write_text(folder / "index.csv", table.to_csv(index=False, lineterminator="\n"))
