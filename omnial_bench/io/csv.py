"""Tables as CSV in which no text is a formula to a spreadsheet, and the same texts when read. No torch here."""

import re

import pandas as pd
from pandas.api.types import is_numeric_dtype

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a text begins that a spreadsheet computes, and how one that was made harmless before."""


def escape(text: str) -> str:
    """The text with an apostrophe in front where it would be computed and is no number; no two texts become one."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unescape(text: str) -> str:
    """The text that `escape` made harmless."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV, its names and texts escaped; columns of numbers are as they are, undefined values empty."""
    written = table.set_axis([escape(str(name)) for name in table.columns], axis="columns")
    for place, kind in enumerate(written.dtypes):
        if not is_numeric_dtype(kind):
            cells = [escape(cell) if isinstance(cell, str) else cell for cell in written.iloc[:, place]]
            # As objects, for numbers among them would be printed otherwise in a column of their own kind.
            written.isetitem(place, pd.array(cells, dtype="object"))
    return str(written.to_csv(index=False, lineterminator="\n"))


def unescaped(table: pd.DataFrame) -> pd.DataFrame:
    """A table of texts as `csv_text` was given them."""
    return table.rename(columns=unescape).map(unescape)
