"""TOML files to records; a mistake is one line: the file, the key and the closest known one. No torch here."""

import os
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from numbers import Number
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from omnial_bench.config.backbones import BackboneRecord
from omnial_bench.config.schema import DetectorRecord, Plan, Recipe, Record, Suite
from omnial_bench.config.several import written_out
from omnial_bench.errors import UserError, is_printable, unknown

Kind = Literal["models", "models/backbones", "attacks", "plans"]
Parsed = TypeVar("Parsed")
MOST_DOTS = 1000
"""On a line of TOML: the time that a key of many parts takes grows with their square."""
DEEPEST = 64
"""Tables and lists inside one another: what reads or writes them goes down by calls."""


def parse(kind: type[Parsed], table: Mapping[str, Any], where: str) -> Parsed:
    """`table` as a `kind` (a record or a dataclass). UserError, one line, names the key and the closest known one, or a
    text that cannot be printed: names of records end in tables, documents and files."""
    prose = {name: " ".join(table[name].split()) for name in _PROSE if isinstance(table.get(name), str)}
    table = {**table, **prose}
    _check_values(table, where)
    if kind is Suite:
        try:
            table = written_out(table)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from error
    parsed = validated(kind, table, where)
    _check_truths(table, parsed, where)
    return parsed


def validated(kind: type[Parsed], table: Mapping[str, Any], where: str) -> Parsed:
    """As `parse`, whatever its texts hold."""
    try:
        return TypeAdapter(kind).validate_python(dict(table))
    except ValidationError as error:
        # An unknown key first: misspelled, it explains the key that is missing.
        first = min(error.errors(include_url=False), key=lambda mistake: mistake["type"] not in _UNKNOWN)
        path = _path(first["loc"], table)
        if first["type"] in _UNKNOWN:
            before = path.removesuffix(str(first["loc"][-1]))
            known = [f"{before}{name}" for name in _keys(kind, first["loc"][:-1])]
            raise UserError(f"{where}: {unknown('key', path, known)}") from error
        if first["type"] in ("missing", "missing_keyword_only_argument"):
            raise UserError(f"{where}: the key {path!r} is missing; add it") from error
        message = first["msg"].removeprefix("Value error, ")
        # All of a record is no answer.
        got = f", got {first['input']!r}" if path else ""
        raise UserError(f"{where}: {path or 'record'}: {message}{got}"[:300]) from error


def _path(parts: Sequence[int | str], table: Any) -> str:
    """A place in a table; what stands in a list goes by its name, if it has one."""
    names = []
    for part in parts:
        try:
            table = table[part]
        except (LookupError, TypeError):
            table = None
        name = table.get("name") if isinstance(part, int) and isinstance(table, Mapping) else None
        names.append(name if isinstance(name, str) and is_printable(name) else str(part))
    return ".".join(names)


def _check_values(table: Mapping[str, Any], where: str) -> None:
    """Texts that can be printed, the whole numbers that TOML has, and tables that end."""
    waiting: list[tuple[tuple[int | str, ...], Any]] = [((), table)]
    while waiting:
        parts, value = waiting.pop()
        if len(parts) > DEEPEST:
            raise UserError(f"{where}: {_path(parts, table)[:80]}: expected tables at most {DEEPEST} deep, got more")
        if isinstance(value, Mapping):
            waiting += [(parts, name) for name in value]
            waiting += [((*parts, name), inner) for name, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [((*parts, index), inner) for index, inner in enumerate(value)]
        elif isinstance(value, str) and not is_printable(value):
            place = _path(parts, table) or "record"
            raise UserError(f"{where}: {place}: expected text of one line that can be printed, got {value!r}"[:300])
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            place, bits = _path(parts, table), value.bit_length() + 1
            raise UserError(f"{where}: {place}: expected a whole number of 64 bits, got one of {bits}")


def _check_truths(given: Any, parsed: Any, where: str, *parts: int | str, whole: Any = None) -> None:
    """Where a number is expected, `true` would be one."""
    whole = given if whole is None else whole
    if isinstance(given, bool) and isinstance(parsed, Number) and not isinstance(parsed, bool):
        raise UserError(f"{where}: {_path(parts, whole)}: expected a number, got {str(given).lower()}")
    pairs: Iterable[tuple[Any, Any, Any]] = ()
    if isinstance(given, Mapping):
        of = parsed.get if isinstance(parsed, Mapping) else partial(getattr, parsed)
        pairs = ((name, inner, of(name, None)) for name, inner in given.items())
    elif isinstance(given, list | tuple) and isinstance(parsed, list | tuple):
        pairs = ((place, *both) for place, both in enumerate(zip(given, parsed, strict=False)))
    for name, one, other in pairs:
        _check_truths(one, other, where, *parts, name, whole=whole)


_PROSE = ("title", "source")
"""Texts that may be written on several lines."""
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def _keys(kind: Any, path: tuple[int | str, ...]) -> list[str]:
    """The keys known at `path` inside a record type."""
    for part in path:
        inner: dict[str, Any] = getattr(kind, "model_fields", {})
        if part in inner:
            kind = inner[str(part)].annotation
        kind = next((a for a in getattr(kind, "__args__", ()) if isinstance(a, type) and issubclass(a, Record)), kind)
    own = [field.name for field in fields(kind)] if is_dataclass(kind) else []
    return list(getattr(kind, "model_fields", None) or own)


def records_folder(kind: str) -> Path:
    """Where records of a kind lie: inside an installed package, or at the top of a checkout."""
    installed = Path(__file__).parents[1] / "_records" / kind
    return installed if installed.is_dir() else Path(__file__).parents[2] / kind


def record_names(kind: Kind) -> list[str]:
    return sorted(path.stem for path in records_folder(kind).glob("*.toml"))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a table; UserError where it is missing or is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
        if max(line.count(".") for line in (text.splitlines() or [""])) > MOST_DOTS:
            raise ValueError(f"a line of it holds more than {MOST_DOTS} dots")
        return tomllib.loads(text)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give the path of a TOML file") from error
    except (ValueError, RecursionError) as error:
        # Beside what is no TOML or no UTF-8: integers of thousands of digits, tables nested without end.
        raise UserError(f"{path} is not valid TOML: {error}") from error


def _read(kind: Kind, what: str, name_or_path: str) -> tuple[dict[str, Any], str]:
    path = Path(name_or_path)
    if path.suffix == ".toml":
        return read_toml(path), str(path)
    if kind == "models" and ":" in name_or_path:
        raise UserError(
            f"expected a detector's record, got the code {name_or_path!r}; write a TOML file with "
            f"detector = {name_or_path!r} and give its path, as models/README.md says"[:300]
        )
    if name_or_path not in (known := record_names(kind)):
        raise unknown(what, name_or_path, known, then="Or give the path of a TOML file")
    return read_toml(records_folder(kind) / f"{name_or_path}.toml"), f"{kind}/{name_or_path}.toml"


def read_suite(name_or_path: str, trusted: Collection[str] = ()) -> Suite:
    """A suite of threat models by name (a record of attacks/) or by the path of a TOML file.

    Attacks from elsewhere that are among `trusted` may run; nothing is imported here.
    """
    suite = parse(Suite, *_read("attacks", "suite", name_or_path))
    return suite.model_copy(update={"threats": tuple(threat.trusting(trusted) for threat in suite.threats)})


def read_plan(name_or_path: str) -> Plan:
    """A plan by name (a record of plans/) or by the path of a TOML file."""
    return parse(Plan, *_read("plans", "plan", name_or_path))


def read_backbone(name: str) -> BackboneRecord:
    """A backbone's record by name (models/backbones/)."""
    if name not in (known := record_names("models/backbones")):
        raise unknown("backbone", name, known)
    return parse(BackboneRecord, *_read("models/backbones", "backbone", name))


def read_detector(name_or_path: str, heirs: tuple[Path, ...] = ()) -> DetectorRecord:
    """A detector's record by name (models/) or by the path of a TOML file, with what its base gives; `heirs` are the
    files of the records that start from this one."""
    table, where = _read("models", "detector", name_or_path)
    base = table.get("base")
    if isinstance(base, str):
        if base.endswith(".toml"):
            base = str(Path(name_or_path).parent / base)
        line = (*heirs, _file_of(name_or_path))
        if _file_of(base) in line:
            raise UserError(f"{where}: base {base!r} leads back to this record; name another one")
        inherited, own = read_detector(base, line).model_dump(exclude_none=True), table.get("options", {})
        options = {**inherited["options"], **own} if isinstance(own, dict) else own
        table = {**inherited, **table, "options": options}
    return parse(DetectorRecord, table, where)


def _file_of(name_or_path: str) -> Path:
    """The one path of a detector's record, however it is written."""
    path = Path(name_or_path)
    return Path(os.path.realpath(path if path.suffix == ".toml" else records_folder("models") / f"{name_or_path}.toml"))


def planned_recipe(plan: Plan, detector: str) -> Recipe:
    """A detector's recipe as the plan has it trained."""
    budget = {"batch": plan.batch, "max_iterations": plan.max_iterations}
    recipe = read_recipe(detector, plan.preset, size=plan.size)
    given = {key: value for key, value in budget.items() if value is not None}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=given)})


def read_recipe(name_or_path: str, preset: str, *, size: tuple[int, int] | None = None) -> Recipe:
    """A detector's recipe at a preset; `size` (height, width) replaces the preset's."""
    record = read_detector(name_or_path)
    if preset not in record.presets:
        named = "Say which with --preset or, in a plan, preset"
        raise unknown(f"preset of {name_or_path}", preset, record.presets, then=named)
    chosen = record.presets[preset]
    return Recipe(
        detector=record.detector,
        preset=preset,
        size=chosen.size if size is None else size,
        training=chosen.training,
        options={**chosen.options, **record.options},
        defence=record.defence,
    )
