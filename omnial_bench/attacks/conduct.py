"""Checks on what a network has learnt and on how its attacks went: losses, gradient, bound. No torch here."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import pandas as pd

from omnial_bench.attacks.evidence import Model, Verdict, is_huge, judged, not_run, option_in, records_of

WHOLE = 0.98
"""The least cosine of slopes told and slopes measured: trained detectors gave 0.987 and more, and at the shortest step
0.80 to 0.999 once their reconstruction was detached: what matters little is not seen."""
UNFELT = 0.05
"""The largest share of a map's movement that plateaus of its input may do alone: networks on features, cropped or not,
gave 0."""
FREE = 0.02
"""Share of the pixels that may lie at an end of the scores' range: so much less can an attack that follows a gradient
find, and whole points of a figure are read. A memory and an autoencoder on ImageNet features gave 0."""
LEARNT = 0.6
"""The least SSIM of a clean normal image's reconstruction: flat grey ones of textures gave 0.13, trained ones 0.67 and
more."""
MANY = 1.5
"""Times chance, and times its own at the start of its training, the least pixel AP of a detector that has learnt."""
RISING = 0.75
"""Share of the steps that must not undo progress: in a ball of 1/255 signs flip about a maximum already after a few
steps, on a network that masks nothing. One step may always, or of three none could."""


DEAF = "the image score stays the same along the steps, as of a map that is scaled by its own largest value or cut off"
"""Image AUROC then says nothing of an attack."""
BACK = 0.1
"""Share of the loss's whole range that a step may fall by without undoing progress: signs flip about a maximum."""
REWEIGHTED = ("pooled", "ranking", "segpgd", "cospgd")
"""Objectives that hold back on what is already won, or measure in units of the map itself: their value may fall while
the attack gains pixels."""


OTHER_WAY = {"image_score": "peaks", "peaks": "image_score"}
"""Objectives of one value, the score, along another gradient."""


@dataclass(frozen=True)
class Curve:
    """The mean objective before each step of one threat, turned so that up is stronger. Of one that chose between a
    random start and another's images, in which all may be won, it begins at the start and goes on with what its own
    steps led to."""

    suite: str
    set: str
    objective: str
    losses: tuple[float, ...]

    @property
    def still(self) -> bool:
        """Whether the objective is the same from the first to the last."""
        return max(self.losses) == min(self.losses)

    @property
    def risen(self) -> bool:
        return self.losses[-1] > self.losses[0]

    @property
    def undone(self) -> int:
        """How many steps undo progress; all of them for a loss that never moves."""
        span = max(self.losses) - min(self.losses)
        return sum(not (span > 0 and after >= before - BACK * span) for before, after in pairwise(self.losses))

    @property
    def share(self) -> float:
        """Share of the steps that undo none."""
        return 1 - self.undone / (len(self.losses) - 1)


def curves_of(attempts: pd.DataFrame) -> Iterator[Curve]:
    """One curve a threat: the categories' losses, weighted by their attacked images."""
    groups: dict[tuple[str, str, str], list[tuple[int, list[float]]]] = {}
    for row in records_of(attempts):
        steady = row["spec"].steady and row["objective"] not in REWEIGHTED
        # Of one loss more than steps the second is where the other's images lay.
        losses = row["losses"][:1] + row["losses"][2:] if len(row["losses"]) > row["steps"] else row["losses"]
        if steady and row["attacked"] and len(losses) > 1 and not is_huge(row["norm"], Fraction(row["eps"])):
            turned = [-loss if row["direction"] == "down" else loss for loss in losses]
            groups.setdefault((row["suite"], row["set"], row["objective"]), []).append((row["attacked"], turned))
    for key, parts in groups.items():
        total = sum(weight for weight, _ in parts)
        steps = zip(*([weight / total * loss for loss in losses] for weight, losses in parts), strict=True)
        yield Curve(*key, tuple(math.fsum(step) for step in steps))


def loss_rises(model: Model) -> Verdict:
    """PGD alone: adaptive attacks try steps that are too long, and those with random inputs have a noisy loss. Of
    `image_score` and `peaks` one is enough: along its own gradient a score that is the highest of its map comes back
    from step to step, and along the map's one that the map does not show."""
    curves = list(curves_of(model.attempts))
    if not curves:
        return not_run("the losses of PGD of several steps below 64/255, as in suite white-box")

    def rises(curve: Curve) -> bool:
        return curve.risen and (curve.share >= RISING or curve.undone == 1)

    risen = {(curve.suite, curve.objective) for curve in curves if rises(curve)}
    curves = [curve for curve in curves if rises(curve) or (curve.suite, OTHER_WAY.get(curve.objective)) not in risen]
    curve = min(curves, key=lambda one: (rises(one), one.risen, one.share))
    return judged(
        rises(curve),
        f"of {len(curves)} PGD attacks {curve.set} did worst: loss {curve.losses[0]:.4g} to {curve.losses[-1]:.4g} "
        f"(up is stronger), {curve.share:.0%} of the steps kept what was gained",
        f"{DEAF if curve.still and curve.objective == 'image_score' else 'the gradient does not lead to more loss'}; "
        f"in doubt is the figure of {curve.set}",
        category="all", set=curve.set, figure=curve.share, reference=RISING,
    )  # fmt: skip


def loss_moves(model: Model) -> Verdict:
    """Steps that stand still: the objective is the same before each, to the last digit, though its gradient is not
    zero. Not of an attack that goes on from another's images, in which all may be won."""
    known = [
        (row["set"], max(row["losses"]) - min(row["losses"]), int(row["attacked"]))
        for row in records_of(model.attempts)
        if row["spec"].iterative
        and row["attacked"]
        and len(row["losses"]) > 1
        and not option_in(row["options"], "start")
    ]
    if not known:
        return not_run("an attack of several steps that gives its losses, as in suite quick")
    still = [(name, count) for name, moved, count in known if moved == 0]
    share = sum(count for _, count in still) / sum(count for *_, count in known)
    worst = still[0][0] if still else ""
    return judged(
        not still, f"the loss stands still in {len(still)} of {len(known)} attacks of several steps",
        f"first under {worst}: the objective does not feel what the attack does, so its figure says nothing",
        category="all", set=worst, figure=share, reference=0.0,
    )  # fmt: skip


def has_learnt(model: Model) -> Verdict:
    """Of every category: clean normal images are reconstructed, and pixels ranked better than by chance and than before
    the training. A network that has not learnt has nothing to lose under attack."""
    clean = model.rows[(model.rows["set"] == "clean") & (model.rows["category"] != "mean")].dropna(subset="value")
    figures = clean.pivot_table(index="category", columns="metric", values="value", sort=False)
    figures = figures.reindex(columns=["ssim", "pixel_ap", "pixel_ap_chance"])
    if figures["pixel_ap"].isna().all():
        return not_run("the clean test split of a category with defects")
    poor: list[str] = []
    for row in figures.reset_index().to_dict("records"):
        if row["ssim"] < LEARNT:
            poor.append(f"SSIM {row['ssim']:.2f} on {row['category']}")
        if row["pixel_ap"] < MANY * row["pixel_ap_chance"]:
            poor.append(
                f"pixel AP {row['pixel_ap']:.3f} on {row['category']}, where chance is {row['pixel_ap_chance']:.3f}"
            )
    for trained, (before, after) in model.validated.items():
        if after < MANY * before:
            places = [trained] if trained else figures.index
            poor += [f"validation pixel AP {after:.3f} on {place}, untrained {before:.3f}" for place in places]
    over = figures["pixel_ap"] / figures["pixel_ap_chance"]
    figure, reference, words = (over.min(), MANY, "pixel AP {:.1f} times chance and more in every category")
    if figures["ssim"].notna().any():
        figure, reference, words = (figures["ssim"].min(), LEARNT, "clean normal images reconstructed to SSIM {:.2f}")
    return judged(
        not poor, "; ".join(poor) or words.format(figure),
        "it has not learnt these categories, and what an attack leaves of it says nothing of detectors of its kind",
        category="all", set="clean", figure=float(figure), reference=reference,
    )  # fmt: skip


def no_zero_gradients(model: Model) -> Verdict:
    known = model.attempts[model.attempts["flat"].notna()]
    attacked = int(known["attacked"].sum())
    if not attacked:
        return not_run("an attack that takes a gradient, as in suite white-box")
    flat = known["flat"].astype("int64").groupby(known["set"], sort=False).sum()
    total, worst = int(flat.sum()), str(flat.idxmax()) if flat.any() else ""
    return judged(
        not total, f"the gradient is zero everywhere in {total} of {attacked} attacked images",
        f"most under {worst}, and PGD cannot move them; in doubt is every figure of a gradient attack on this model",
        category="all", set=worst, figure=total / attacked, reference=0.0,
    )  # fmt: skip


def gradient_is_whole(model: Model) -> Verdict:
    """A branch that is detached leaves a gradient, and attacks that climb it, but not that of the map."""
    known = model.attempts[model.attempts["agreement"].notna()]
    if known.empty:
        return not_run(
            "an attack whose gradient was held against forward passes, as in suites quick, white-box and health, and a "
            "slope that stands out of rounding: where one of these was run, none did, and nothing was measured"
        )
    worst = records_of(known.sort_values("agreement", kind="stable"))[0]
    return judged(
        worst["agreement"] >= WHOLE,
        # Rounded down, so that none below the threshold reads as if it were there.
        "slopes told by the gradient and measured by forward passes agree to a cosine of "
        f"{math.floor(1000 * worst['agreement']) / 1000:.3f}",
        "part of the detector hides its gradient, rounds what it says, as in bfloat16, or mixes the images of a batch; "
        "in doubt is every figure of a gradient attack on this model",
        category="all", set=worst["set"], figure=worst["agreement"], reference=WHOLE,
    )  # fmt: skip


def gradient_reaches_all_pixels(model: Model) -> Verdict:
    """Slopes tell nothing of what is flat about an image: a pixel there stays where it is, whatever it could do."""
    known = model.attempts[model.attempts["unfelt"].notna()]
    if known.empty:
        return not_run(
            "an attack beside which plateaus of the input were looked for, as in suites quick, white-box and health"
        )
    worst = records_of(known.sort_values("unfelt", ascending=False, kind="stable"))[0]
    return judged(
        worst["unfelt"] <= UNFELT,
        f"at the most, on {worst['category']}, noise where no pixel has a gradient does {worst['unfelt']:.1%} of what "
        "noise everywhere does to the map",
        "preprocessing that is flat there, as where values are rounded, hides them from the attack; in doubt is every "
        "figure of a gradient attack on this model",
        category="all", set=worst["set"], figure=worst["unfelt"], reference=UNFELT,
    )  # fmt: skip


def scores_do_not_saturate(model: Model) -> Verdict:
    """A map that is cut off, or rounded to its last value, has a gradient elsewhere, and that gradient is whole."""
    known = model.attempts[model.attempts["saturated"].notna()]
    if known.empty:
        return not_run("an attack that takes a gradient, with goal any, as in suite quick")
    worst = records_of(known.sort_values("saturated", ascending=False, kind="stable"))[0]
    return judged(
        worst["saturated"] <= FREE,
        f"at the most, on {worst['category']}, {worst['saturated']:.1%} of the normal pixels have the lowest score, or "
        "of the anomalous ones the highest",
        "no gradient moves what is cut off; in doubt is every figure of a gradient attack on this model",
        category="all", set=worst["set"], figure=worst["saturated"], reference=FREE,
    )  # fmt: skip


def bound_holds(model: Model) -> Verdict:
    """On the bytes. An attack that may change a value by its whole range, such as a patch, has no bound to keep."""
    bounded = [
        (row["largest_change"], float(255 * Fraction(row["eps"])), row["set"])
        for row in records_of(model.attempts)
        if row["attacked"] and (row["norm"] != "linf" or Fraction(row["eps"]) < 1)
    ]
    if not bounded:
        return not_run("an attack with a bound that an image can break, as in suite white-box")
    change, bound, worst = max(bounded, key=lambda one: one[0] - one[1])
    # The length of an L2 change is a square root, right but for its last bits.
    return judged(
        change <= bound * (1 + 1e-9), f"largest change {change:g} of {bound:g} grey levels allowed, under {worst}",
        f"the attack did more than its label says; in doubt is the figure of {worst}",
        category="all", set=worst, figure=change, reference=bound,
    )  # fmt: skip
