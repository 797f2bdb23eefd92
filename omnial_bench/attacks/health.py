"""Whether the attacks worked: checks on a run's rows that a detector which masks its gradient fails. No torch here.

After Carlini et al., On Evaluating Adversarial Robustness (2019), and Athalye et al., Obfuscated Gradients Give a False
Sense of Security (ICML 2018).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from fractions import Fraction
from typing import Any, Literal

import pandas as pd

from omnial_bench.attacks.evidence import (
    BALL,
    SETTINGS,
    TITLE,
    Curve,
    Figure,
    Model,
    curves_of,
    is_huge,
    models_of,
    pairs_of,
    records_of,
)
from omnial_bench.attacks.specs import spec_in

SLACK = 0.02
"""How far a figure may lie on the wrong side. Attacks climb a loss, not the figure: on a detector without any mask more
loss can come with 0.02 more of it, and rounding to 8 bits and a random start add to that."""
BLIND = 0.01
"""The same for Square, which climbs that loss without a gradient: where nothing is masked it lies far behind PGD."""
CHANCE = 0.5
"""What a huge ball must drive a detector down to: who follows a true gradient there reaches chance or worse."""
SETTLED = 0.05
"""How far the figure may still move with more steps; beyond, a table would say something else after more of them."""
WHOLE = 0.98
"""The least cosine of slopes told and slopes measured: trained detectors gave 0.987 and more, and at the shortest step
0.80 to 0.999 once their reconstruction was detached: what matters little is not seen."""
FREE = 0.02
"""Share of the pixels that may lie at an end of the scores' range: so much less can an attack that follows a gradient
find, and whole points of a figure are read. A memory and an autoencoder on ImageNet features gave 0."""
LEARNT = 0.6
"""The least SSIM of a clean normal image's reconstruction: flat grey ones of textures gave 0.13, trained ones 0.67 and
more."""
MANY = 1.5
"""Times chance, the least pixel AP of a detector that has learnt."""
RISING = 0.75
"""Share of the steps that must not undo progress: in a ball of 1/255 signs flip about a maximum already after a few
steps, on a network that masks nothing. One step may always, or of three none could."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check found: `figure` is held against `reference`; both are None where it was not run."""

    status: Literal["passed", "failed", "not run"]
    note: str
    set: str = ""
    """The images whose figure is judged, and in doubt where the check failed."""
    figure: float | None = None
    reference: float | None = None
    category: str = "mean"
    """`mean` of the categories' figures, or `all` of their images."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A row of health.csv: one verdict on one model."""

    check: str
    detector: str
    paradigm: str
    category: str
    set: str
    figure: float | None
    reference: float | None
    status: str
    note: str


COLUMNS = tuple(field.name for field in fields(Check))


Pairs = Iterable[tuple[Figure, Figure]]


def iterative_beats_one_step(model: Model) -> Verdict:
    pairs = pairs_of(model.own, model.own, *BALL, "objective")
    return _not_above(
        ((one, other) for one, other in pairs if one.iterative and other.one_step),
        why="one step does more harm than many",
        needs="PGD of one step and of several at the same eps and goal any, as in suite health",
    )


def white_box_beats_transfer(model: Model) -> Verdict:
    return _not_above(
        pairs_of(model.own, model.transferred, *BALL, *SETTINGS),
        why="images made on another model do more harm than those made on this one",
        needs="images made on another model and on this one by the same attack with goal any, as in suite transfer",
    )


def gradient_beats_noise(model: Model) -> Verdict:
    """Without slack: an attack that is led astray does the harm of noise, no less."""
    pairs = pairs_of(model.own, model.own, *BALL)
    return _not_above(
        ((one, other) for one, other in pairs if one.iterative and other.control),
        slack=0.0,
        why="noise without any aim does more harm than PGD",
        needs="PGD and uniform noise of the same eps, both with goal any, as in suite health",
    )


def gradient_beats_square(model: Model) -> Verdict:
    pairs = pairs_of(model.own, model.own, *BALL, "objective")
    return _not_above(
        ((one, other) for one, other in pairs if one.iterative and other.blind),
        slack=BLIND,
        why="Square, which sees no gradient, does more harm than PGD",
        needs="PGD and Square of the same eps and objective with goal any, as in suite health",
    )


def nothing_else_harms_more(model: Model) -> Verdict:
    """The figure that a suite prints is that of its first attack with goal any: no other objective, and no goal that is
    a part of it, leaves less of the same ball."""
    printed: dict[tuple[object, ...], Figure] = {}
    for one in model.own:
        if one.iterative and not is_huge(one.norm, one.eps):
            printed.setdefault((one.suite, one.norm, one.where, one.eps, one.n), one)
    others = [one for one in (*model.own, *model.aside) if one.eps and not one.control]
    return _not_above(
        (
            (one, other)
            for one, other in pairs_of(printed.values(), others, *BALL)
            if (other.objective, other.goal) != (one.objective, one.goal)
        ),
        why="another objective or goal does more harm",
        needs="a second objective or goal of the same ball, as in suite quick",
    )


def larger_eps_never_helps(model: Model) -> Verdict:
    """A huge eps has a check of its own: how far below chance it drives a detector depends on the step."""
    sizes = [one for one in model.own if not is_huge(one.norm, one.eps) and not one.control]
    larger = [pair for pair in pairs_of(sizes, sizes, "norm", "where", "n", *SETTINGS) if pair[0].eps > pair[1].eps]
    from_zero = [pair for pair in pairs_of(sizes, sizes, "n") if pair[0].eps > pair[1].eps == 0]
    return _not_above(
        larger + from_zero if larger else (),
        why="the larger ball holds the smaller one, so an attack in it cannot truly do less harm",
        needs="the same attack with goal any at two sizes below 64/255 or more, as in suite curve",
    )


def huge_eps_breaks(model: Model) -> Verdict:
    found = [one for one in model.own if one.iterative and is_huge(one.norm, one.eps)]
    if not found:
        return _not_run("PGD with goal any at 64/255 or more in the L-infinity norm, as in suite health")
    worst = max(found, key=lambda one: one.value)
    return _judged(
        worst.value <= CHANCE, f"{TITLE} {worst.value:.3f} under {worst}, chance is {CHANCE:g}",
        "who survives this most likely hides the gradient; in doubt is every figure of a gradient attack on this model",
        set=worst.set, figure=worst.value, reference=CHANCE,
    )  # fmt: skip


def more_steps_change_little(model: Model) -> Verdict:
    pairs = [
        (short, long)
        for short, long in pairs_of(model.own, model.own, *BALL, "objective", "restarts", "options")
        if short.iterative and long.iterative and short.steps < long.steps
    ]
    if not pairs:
        return _not_run("PGD of two lengths, neither of one step, at the same eps and goal any, as in suite health")
    # Of those that moved the longest is judged: attacks of fewer steps are in doubt with it.
    moved = [pair for pair in pairs if abs(pair[0].value - pair[1].value) > SETTLED]
    most = max((short.steps for short, _ in moved), default=None)
    judged = [pair for pair in moved if pair[0].steps == most] or pairs
    short, long = max(judged, key=lambda pair: abs(pair[0].value - pair[1].value))
    fall = short.value - long.value
    higher, why = (short, "the attack had not settled") if fall > 0 else (long, "more steps do less harm")
    return _judged(
        abs(fall) <= SETTLED,
        f"{TITLE} {short.value:.3f} after {short.steps} steps ({short.set}), "
        f"{long.value:.3f} after {long.steps} ({long.set})",
        f"{why}; in doubt is the {higher.value:.3f} of {higher.set}, and of attacks of its kind that are no longer",
        set=higher.set, figure=fall, reference=SETTLED,
    )  # fmt: skip


def loss_rises(model: Model) -> Verdict:
    """PGD alone: adaptive attacks try steps that are too long, and those with random inputs have a noisy loss."""
    curves = list(curves_of(model.attempts))
    if not curves:
        return _not_run("the losses of PGD of several steps below 64/255, as in suite white-box")

    def rises(curve: Curve) -> bool:
        return curve.risen and (curve.share >= RISING or curve.undone == 1)

    curve = min(curves, key=lambda one: (rises(one), one.risen, one.share))
    return _judged(
        rises(curve),
        f"of {len(curves)} PGD attacks {curve.set} did worst: loss {curve.losses[0]:.4g} to {curve.losses[-1]:.4g} "
        f"(up is stronger), {curve.share:.0%} of the steps kept what was gained",
        f"the gradient does not lead to more loss; in doubt is the figure of {curve.set}",
        category="all", set=curve.set, figure=curve.share, reference=RISING,
    )  # fmt: skip


def loss_moves(model: Model) -> Verdict:
    """Steps that stand still: the objective is the same before each, to the last digit, though its gradient is not
    zero."""
    known = [
        (row["set"], float(max(losses) - min(losses)), int(row["attacked"]))
        for row in records_of(model.attempts)
        if spec_in(row["attack"], row.get("spec", "")).iterative and row["attacked"] and isinstance(row["losses"], str)
        if len(losses := [float(word) for word in row["losses"].split()]) > 1
    ]
    if not known:
        return _not_run("an attack of several steps, as in suite quick")
    still = [(name, count) for name, moved, count in known if moved == 0]
    share = sum(count for _, count in still) / sum(count for *_, count in known)
    worst = still[0][0] if still else ""
    return _judged(
        not still, f"the loss stands still in {len(still)} of {len(known)} attacks of several steps",
        f"first under {worst}: the objective does not feel what the attack does, so its figure says nothing",
        category="all", set=worst, figure=share, reference=0.0,
    )  # fmt: skip


def has_learnt(model: Model) -> Verdict:
    """Of every category: clean normal images are reconstructed, and pixels ranked better than by chance. A network that
    has not learnt has nothing to lose under attack."""
    clean = model.rows[(model.rows["set"] == "clean") & (model.rows["category"] != "mean")].dropna(subset="value")
    told = clean.pivot_table(index="category", columns="metric", values="value", sort=False)
    told = told.reindex(columns=["ssim", "pixel_ap", "pixel_ap_chance"])
    if told["pixel_ap"].isna().all():
        return _not_run("the clean test split of a category with defects")
    poor: list[str] = []
    for row in told.reset_index().to_dict("records"):
        if row["ssim"] < LEARNT:
            poor.append(f"SSIM {row['ssim']:.2f} on {row['category']}")
        if row["pixel_ap"] < MANY * row["pixel_ap_chance"]:
            poor.append(
                f"pixel AP {row['pixel_ap']:.3f} on {row['category']}, where chance is {row['pixel_ap_chance']:.3f}"
            )
    over = told["pixel_ap"] / told["pixel_ap_chance"]
    figure, reference, words = (over.min(), MANY, "pixel AP {:.1f} times chance and more in every category")
    if told["ssim"].notna().any():
        figure, reference, words = (told["ssim"].min(), LEARNT, "clean normal images reconstructed to SSIM {:.2f}")
    return _judged(
        not poor, "; ".join(poor) or words.format(figure),
        "it has not learnt these categories, and what an attack leaves of it says nothing of detectors of its kind",
        category="all", set="clean", figure=float(figure), reference=reference,
    )  # fmt: skip


def no_zero_gradients(model: Model) -> Verdict:
    known = model.attempts[model.attempts["flat"].notna()]
    attacked = int(known["attacked"].sum())
    if not attacked:
        return _not_run("an attack that takes a gradient, as in suite white-box")
    flat = known["flat"].astype("int64").groupby(known["set"], sort=False).sum()
    total, worst = int(flat.sum()), str(flat.idxmax()) if flat.any() else ""
    return _judged(
        not total, f"the gradient is zero everywhere in {total} of {attacked} attacked images",
        f"most under {worst}, and PGD cannot move them; in doubt is every figure of a gradient attack on this model",
        category="all", set=worst, figure=total / attacked, reference=0.0,
    )  # fmt: skip


def gradient_is_whole(model: Model) -> Verdict:
    """A branch that is detached leaves a gradient, and attacks that climb it, but not that of the map."""
    known = model.attempts[model.attempts["agreement"].notna()]
    if known.empty:
        return _not_run(
            "an attack whose gradient was held against forward passes, as in suites quick, white-box and health, and a "
            "slope that stands out of rounding: where one of these was run, none did, and nothing was measured"
        )
    worst = records_of(known.sort_values("agreement", kind="stable"))[0]
    return _judged(
        worst["agreement"] >= WHOLE,
        f"slopes told by the gradient and measured by forward passes agree to a cosine of {worst['agreement']:.3f}",
        "part of the detector hides its gradient; in doubt is every figure of a gradient attack on this model",
        category="all", set=worst["set"], figure=worst["agreement"], reference=WHOLE,
    )  # fmt: skip


def scores_do_not_saturate(model: Model) -> Verdict:
    """A map that is cut off, or rounded to its last value, has a gradient elsewhere, and that gradient is whole."""
    known = model.attempts[model.attempts["saturated"].notna()]
    if known.empty:
        return _not_run("an attack that takes a gradient, with goal any, as in suite quick")
    worst = records_of(known.sort_values("saturated", ascending=False, kind="stable"))[0]
    return _judged(
        worst["saturated"] <= FREE,
        f"{worst['saturated']:.1%} of the normal pixels have the lowest score, or of the anomalous ones the highest",
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
        return _not_run("an attack with a bound that an image can break, as in suite white-box")
    change, bound, worst = max(bounded, key=lambda one: one[0] - one[1])
    # The length of an L2 change is a square root, right but for its last bits.
    return _judged(
        change <= bound * (1 + 1e-9), f"largest change {change:g} of {bound:g} grey levels allowed, under {worst}",
        f"the attack did more than its label says; in doubt is the figure of {worst}",
        category="all", set=worst, figure=change, reference=bound,
    )  # fmt: skip


CHECKS: Mapping[str, Callable[[Model], Verdict]] = {
    "has learnt": has_learnt,
    "nothing else harms more": nothing_else_harms_more,
    "iterative beats one-step": iterative_beats_one_step,
    "white-box beats transfer": white_box_beats_transfer,
    "PGD beats noise": gradient_beats_noise,
    "larger eps never helps": larger_eps_never_helps,
    "huge eps breaks": huge_eps_breaks,
    "more steps change little": more_steps_change_little,
    "loss rises": loss_rises,
    "loss moves": loss_moves,
    "no zero gradients": no_zero_gradients,
    "gradient is whole": gradient_is_whole,
    "scores do not saturate": scores_do_not_saturate,
    "Square does not beat PGD": gradient_beats_square,
    "bound holds": bound_holds,
}


def health(rows: pd.DataFrame, attempts: pd.DataFrame) -> pd.DataFrame:
    """Every check on every model of `rows` (results.csv of one run), columns `COLUMNS`; `attempts` is its attacks.csv.

    Figures are class means over equally many images; several seeds are averaged. Where something is missing a check
    is `not run`, and its note says what it needs.
    """
    found = [
        astuple(Check(check=name, detector=detector, paradigm=paradigm, **vars(check(model))))
        for (detector, paradigm), model in models_of(rows, attempts)
        for name, check in CHECKS.items()
    ]
    table = pd.DataFrame(found, columns=list(COLUMNS))
    return table.astype({"figure": "float64", "reference": "float64"})


def doubts(checked: pd.DataFrame) -> pd.DataFrame:
    """The models that failed a check, one row each: detector, paradigm, names of the checks, and their notes."""
    failed = checked[checked["status"] == "failed"]
    rows = [
        (*model, ", ".join(part["check"]), "; ".join(part["check"] + ": " + part["note"]))
        for model, part in failed.groupby(["detector", "paradigm"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["detector", "paradigm", "checks", "notes"])


def _not_run(needs: str) -> Verdict:
    return Verdict(status="not run", note=f"needs {needs}")


def _judged(good: bool, note: str, doubt: str, **values: Any) -> Verdict:
    return Verdict(status="passed" if good else "failed", note=note if good else f"{note}: {doubt}", **values)


def _not_above(pairs: Pairs, *, slack: float = SLACK, why: str, needs: str) -> Verdict:
    """Whether the first of each pair is at most the second, and `slack`; the pair that lies furthest off is shown."""
    found = list(pairs)
    if not found:
        return _not_run(needs)
    one, other = max(found, key=lambda pair: pair[0].value - pair[1].value)
    return _judged(
        one.value <= other.value + slack,
        f"{TITLE} {one.value:.3f} under {one}, {other.value:.3f} under {other}",
        f"{why}; in doubt is the {one.value:.3f} of {one.set}, where {other.value:.3f} or less is true",
        set=one.set, figure=one.value, reference=other.value,
    )  # fmt: skip
