"""Defences by name, and from elsewhere. No torch here until one is built."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from omnial_bench import provenance as made_by
from omnial_bench.errors import UserError, about, unknown
from omnial_bench.trust import check_trust, code_of, guarded, is_foreign, load

if TYPE_CHECKING:
    from omnial_bench.types import Detector

DEFENCES = {"smoothing": "omnial_bench.defences.smoothing:Smoothing"}


def check_defence(defence: Mapping[str, Any], where: str) -> str:
    """The name of a defence, that of DEFENCES or `package.module:object`, as the table `where` says; "" for none.
    UserError for one that is not there, and for what can be no name of code. Nothing is imported."""
    name: str = defence.get("name", "")
    if defence and not (isinstance(name, str) and name):
        raise UserError(f"{where}: expected the name of its defence, got {name!r}; try {', '.join(DEFENCES)}")
    if is_foreign(name):
        check_trust(name, [name], where, "defence")
    elif name and name not in DEFENCES:
        raise unknown(f"defence of {where}", name, DEFENCES)
    return name


def defended(detector: "Detector", defence: Mapping[str, Any], *, trusted: Collection[str], where: str) -> "Detector":
    """The detector in a defence, all of whose table but the name are keywords; as it is where there is none.

    UserError as of `check_defence`, for code from elsewhere that is not among `trusted`, for what is no Defence, and
    where it fails to build.
    """
    name = check_defence(defence, where)
    if not name:
        return detector
    # After the name, for it brings torch along.
    from omnial_bench.defences.base import Defence

    place = DEFENCES.get(name, name)
    source = load(place, [place] if name in DEFENCES else trusted, where, "defence")
    if not (isinstance(source, type) and issubclass(source, Defence)):
        raise UserError(f"{where}: expected a class of omnial_bench.Defence, got {name}")
    with about(where), guarded(name, "build"):
        return source(detector, **{key: value for key, value in defence.items() if key != "name"})


def defence_code(defence: Mapping[str, Any]) -> dict[str, str]:
    """The hash of a defence's code, where there is one: a part of the key of what is scored and attacked with it."""
    if not (name := defence.get("name")):
        return {}
    module = DEFENCES[name].partition(":")[0].partition(".")[2] if name in DEFENCES else ""
    return {"defence": made_by.code_version(module) if module else code_of(name)}
