"""A run folder drawn by numpy: rows, logs, manifests and example pictures as the benchmark leaves them."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from omnial_bench.store import METRICS, Result, frame, write_json, write_rows, write_text

DETECTORS = ("draem", "jnld", "omnial")
PARADIGMS = ("unified", "separate")
SETS = {"unattacked": "none", "pgd-4": "linf 4/255", "pgd-8": "linf 8/255", "pgd-8-targeted": "linf 8/255 targeted"}
SOURCE = "draem-unified+jnld-unified+omnial-unified"
HIT = {"clean": 0.0, "unattacked": 0.0, "pgd-4": 0.16, "pgd-8": 0.31, "pgd-8-targeted": 0.42}


def fake_rows(
    categories: tuple[str, ...] = ("bottle", "grid"),
    counts: tuple[int, ...] = (83, 78),
    dataset: str = "mvtec_ad",
    detectors: tuple[str, ...] = DETECTORS,
    sets: dict[str, str] = SETS,
) -> pd.DataFrame:
    """Plausible rows: sets hurt more with eps, sources (unified) more than the rest, chance levels beside AP."""
    rows = []
    for d, detector in enumerate(detectors):
        for paradigm in PARADIGMS:
            for name, threat in {"clean": "none", **sets}.items():
                hit = HIT.get(name, 0.2) * (1.0 if paradigm == "unified" else 0.55) * (1.2 - 0.2 * d)
                table = {}
                for c, category in enumerate(categories):
                    base = 0.82 + 0.05 * d - 0.06 * c + (0.02 if paradigm == "separate" else 0)
                    figures = dict.fromkeys(METRICS, 0.0)
                    for m, metric in enumerate(METRICS):
                        figures[metric] = min(0.998, base + 0.012 * (m % 4) - hit)
                    figures["pixel_ap"] = base - 0.35 - 0.7 * hit + (0.15 if name != "clean" else 0)
                    figures["psnr"], figures["ssim"] = 31.0 + d - 14 * hit, 0.93 + 0.01 * d - 0.6 * hit
                    figures["image_ap_chance"] = 63 / 83 if name == "clean" else 0.8
                    figures["pixel_ap_chance"] = 0.031 if name == "clean" else 0.062
                    table[category] = figures
                table["mean"] = {k: float(np.mean([table[c][k] for c in categories])) for k in figures}
                for category, figures in table.items():
                    n = dict(zip((*categories, "mean"), (*counts, sum(counts)), strict=True))[category]
                    rows += [
                        Result(
                            detector=detector,
                            paradigm=paradigm,
                            preset="small",
                            dataset=dataset,
                            category=category,
                            set=name,
                            threat=threat,
                            source=SOURCE if threat != "none" else "none",
                            metric=metric,
                            value=value,
                            n=n if name == "clean" else 40,
                            seed=0,
                            run="abc123",
                        )
                        for metric, value in figures.items()
                    ]
    return frame(rows)


def fake_run(run: Path, *, size: tuple[int, int] = (96, 96), notice: str | None = "Images: invented.") -> Path:
    """A whole run folder under `run`; pictures are `size` (height, width)."""
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
        "data_notice": notice,
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
    sources = [{"name": part, "sha256": "0" * 64} for part in SOURCE.split("+")] if label != "none" else []
    up = -1 if "targeted" in name else 1
    steps = [1.2 + up * HIT[name] * 2 * (1 - np.exp(-i / 3)) for i in range(10)] if label != "none" else []
    manifest = {
        "suite": "paper", "threat": {"name": name}, "label": label, "sources": sources, "seed": 0,
        "dataset": "mvtec_ad", "data_fingerprint": "f" * 64, "size": [96, 96],
        "loss": {"steps": [float(s) for s in steps]},
        "counts": {"bottle": {"good": 8, "synthetic": 32}, "grid": {"good": 8, "synthetic": 32}},
        "largest_change": {"none": 0, "linf 4/255": 4}.get(label, 8), "versions": {}, "files": {},
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def _examples(folder: Path, size: tuple[int, int], random: np.random.Generator) -> None:
    index: list[tuple[str, ...]] = []
    h, w = size
    y, x = np.mgrid[0:h, 0:w]
    truth = ((y - h * 0.4) ** 2 + (x - w * 0.6) ** 2 < (h * 0.15) ** 2).astype(np.uint8) * 255

    def put(picture: np.ndarray, *row: str) -> None:
        path = "/".join(row[:3]) + f"/{row[3]}-{row[4].replace('/', '_')}-{row[5]}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(folder / path)
        index.append((*row, path))

    for c, category in enumerate(("bottle", "grid")):
        waves = np.sin(x / (5 + 3 * c)) * np.sin(y / (9 - 3 * c))
        clean = np.stack([128 + 60 * waves, 120 + 50 * waves, 90 + 30 * waves], axis=-1)
        spoiled = np.where(truth[..., None] > 0, 255 - clean, clean)
        for detector in DETECTORS:
            panels = ("left", "right", "top", "bottom", "all") if detector == "omnial" else ("all",)
            for panel in panels:
                labels = np.where(truth > 0, 85 * (1 + (x + y) // 9 % 3), 0)
                row = (detector, "synthesis", category, panel, f"{category}/train/good/000")
                put(spoiled, *row[:2], *row[2:4], row[4], "input")
                put(labels, *row, "truth")
                put(clean, *row, "clean")
            for paradigm in PARADIGMS:
                for name in ("clean", *SETS):
                    defect = "broken" if name == "clean" else "synthetic"
                    row = (f"{detector}-{paradigm}", name, category, defect, f"{category}/test/{defect}/000")
                    levels = 0 if name in ("clean", "unattacked") else 4 if name == "pgd-4" else 8
                    noise = levels * random.choice([-1, 1], size=(h, w, 3))
                    put(spoiled + noise, *row, "input")
                    put(truth, *row, "truth")
                    put(clean + 6 * random.standard_normal(clean.shape), *row, "reconstruction")
                    put(np.clip(truth * 0.8 + 12 * levels * random.random((h, w)), 0, 255), *row, "map")
                    if name != "clean":
                        put(spoiled, *row, "original")
                        put(clean, *row, "clean")
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("model", "set", "category", "defect", "id", "role", "path"))
        writer.writerows(index)
