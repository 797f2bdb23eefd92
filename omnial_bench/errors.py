"""The one kind of error that a user can mend."""

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

_ACTS = frozenset("\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff")
"""What turns the order of reading round, and what no XML file may hold."""


class UserError(Exception):
    """A mistake in what the user gave: one line that says what was expected, what came, and what to try.

    The command line prints the line and exits with status 2; nothing has been written or lost. Names that come from a
    file may hold line ends or what a terminal acts on: such characters are shown by their escapes.
    """

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


@contextmanager
def about(record: str) -> Iterator[None]:
    """Have a UserError that comes from within say which record it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{record}: {error}") from error


def printable(text: str) -> str:
    """The text with every character that is not printed, or that a terminal acts on, shown by its escape."""
    return "".join(character if is_printable(character) else repr(character)[1:-1] for character in text)


def is_printable(text: str) -> bool:
    """Whether a text has a place on one line of a table or a terminal: letters of every script do, line ends, control
    characters and halves of characters do not."""
    return text.isprintable() or not any(
        character in _ACTS or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text
    )


def line_of(error: BaseException) -> str:
    """What an error says, on one line; nothing where somebody else's code fails to say it."""
    try:
        return " ".join(str(error).split())
    except Exception:  # noqa: BLE001
        return ""


def unknown(what: str, got: str, known: Iterable[str], *, then: str = "") -> UserError:
    """The error for a name that does not exist, with the closest known one, and a sentence on what else there is."""
    names = sorted(known)
    close = get_close_matches(got, names, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
    more = f"{'' if close else '.'} {then}" if then else ""
    return UserError(f"unknown {what} {got!r}; {hint}{more}")
