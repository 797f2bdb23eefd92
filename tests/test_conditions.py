"""Conditions that a data set names, such as its lights: each has figures of its own under attack too."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from fake_run import fake_attempts, fake_rows, fake_suites
from masked import Honest

from omnial_bench.config.schema import Suite, Threat
from omnial_bench.data.images import Images
from omnial_bench.errors import UserError
from omnial_bench.evaluation.evaluate import evaluate, spread
from omnial_bench.evaluation.target import Labels, Target
from omnial_bench.io.whole import write_text
from omnial_bench.pipeline.ledger import check_rows, row_names
from omnial_bench.reports import categories
from omnial_bench.reports.campaign import campaign_of
from omnial_bench.results import Result, frame, read_rows, write_rows

LABELS = Labels(detector="honest", paradigm="unified", preset="given", dataset="none", seed=0, run="r")
QUICK = Suite(
    name="probe", title="A step", against="self",
    threats=(Threat(name="probe-any", eps="8/255", objective="ranking", steps=2),),
)  # fmt: skip
EXACT = ("pixel_auroc", "pixel_ap", "image_auroc")

pytestmark = pytest.mark.usefixtures("one_thread")


def images(conditions: tuple[str, ...]) -> Images:
    """Noise with a brighter square in all but every third."""
    count = len(conditions)
    pixels = torch.randint(60, 140, (count, 3, 24, 24), generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(count, 24, 24, dtype=torch.bool)
    defects = tuple("good" if index % 3 == 0 else "spot" for index in range(count))
    for index, defect in enumerate(defects):
        masks[index, 4:10, 6:12] = defect != "good"
    pixels[masks.unsqueeze(1).expand_as(pixels)] += 60
    ids = tuple(f"cap/test/{defect}/{index:03d}" for index, defect in enumerate(defects))
    return Images(pixels.to(torch.uint8), masks, ("cap",) * count, defects, ids, conditions=conditions)


def figures(rows: list[Result], name: str) -> dict[str, float | None]:
    return {row.metric: row.value for row in rows if row.set == name and row.metric in EXACT}


def test_each_condition_has_rows_of_its_own_under_every_threat() -> None:
    whole = images(("dim",) * 6 + ("lit",) * 6)
    rows = evaluate(Target(detector=Honest(), labels=LABELS), QUICK, whole, "cap", seed=0).rows
    sets = [f"{name}{part}" for name in ("probe-unattacked", "probe-any") for part in ("", "/dim", "/lit")]
    assert list(dict.fromkeys(row.set for row in rows)) == sets
    counts = {row.set: row.n for row in rows if row.metric == "pixel_auroc"}
    assert [counts[name] for name in sets] == [12, 6, 6, 12, 6, 6]
    for row in rows:
        assert (row.source, row.eps) == (("self", "8/255") if "any" in row.set else ("none", "")), row
    apart = [figures(rows, name) for name in sets]
    assert apart[1] != apart[2] and all(len(figure) == len(EXACT) for figure in apart)
    # Before the attack each is what its images alone give.
    for part, figure in ((range(6), apart[1]), (range(6, 12), apart[2])):
        alone = evaluate(Target(detector=Honest(), labels=LABELS), QUICK, whole.select(part), "cap", seed=0).rows
        assert figures(alone, f"probe-unattacked/{whole.conditions[part[0]]}") == figure


def test_the_images_under_attack_are_of_every_condition() -> None:
    chosen = spread(images(("dim",) * 18 + ("lit",) * 3), 8, torch.Generator().manual_seed(0))
    assert len(chosen) == 8 and chosen.conditions.count("lit") == 3


def test_rows_of_conditions_are_made_again_with_those_of_all_images(tmp_path: Path) -> None:
    rows = evaluate(Target(detector=Honest(), labels=LABELS), QUICK, images(("dim", "lit") * 6), "cap", seed=0).rows
    write_rows(tmp_path / "results.csv", frame(rows))
    check_rows(tmp_path / "results.csv", row_names(LABELS, ["cap"]), ["probe-unattacked", "probe-any"])
    with pytest.raises(UserError, match="probe-any"):
        check_rows(tmp_path / "results.csv", row_names(LABELS, ["cap"]), ["probe-unattacked"])


def test_the_report_has_a_table_of_the_attacked_by_condition(tmp_path: Path) -> None:
    """Pixels are read under the attack on pixels, image AUROC under that on the score, and neither is a fixed set."""
    rows = pd.concat([fake_rows(), fake_suites()], ignore_index=True)
    shares = {"dim": 0.5, "lit": 0.7}
    parts = [
        rows[rows["set"].str.startswith("white-box")].assign(
            set=lambda part, name=name: part["set"] + f"/{name}", value=lambda part, share=share: part["value"] * share
        )
        for name, share in shares.items()
    ]
    write_rows(tmp_path / "results.csv", pd.concat([rows, *parts], ignore_index=True))
    write_text(tmp_path / "attacks.csv", fake_attempts().to_csv(index=False, lineterminator="\n"))
    campaign = campaign_of(tmp_path, read_rows(tmp_path))
    values, model = campaign.values, campaign.values.models[0]
    assert not any("/" in condition.set for condition in campaign.fixed.conditions)
    assert campaign.fixed.parts_of(campaign.fixed.clean) == ()
    table = categories.by_condition(values, campaign)
    assert table is not None and "Each model attacked itself (white-box-" in table.caption
    for metric in ("pixel_auroc", "image_auroc"):
        mine = table.frame[table.frame["metric"] == metric]
        whole = values.get(model, campaign.against(metric), metric)
        assert list(mine["condition"]) == ["dim", "lit", "mean"]
        assert list(mine[model.name]) == pytest.approx([0.5 * whole, 0.7 * whole, 0.6 * whole])
