"""Sentences that say no number which stands in no table: each is read from the cell that it names.

What is said comes in claims, one value each, which are put together to lines.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import pandas as pd


@dataclass(frozen=True)
class Claim:
    """A piece of a line that says one value, or none.

    Attributes:
        line: the number of its line, from 1.
        text: with the value as it is shown.
        shown: the value as it is shown.
        value: as the table has it.
        table, key, column: the CSV file; its row, by what stands in its first column; its column.
            All are "" where nothing is said that a table could hold.
    """

    line: int
    text: str
    shown: str = ""
    value: object = ""
    table: str = ""
    key: str = ""
    column: str = ""


def percent(value: float) -> str:
    """A share in whole percent."""
    return f"{value:.0%}"


def hundredths(value: float) -> str:
    """A correlation, to two decimals."""
    return f"{value + 0:.2f}".replace("-0.00", "0.00")


def whole(value: float) -> str:
    """A count."""
    return f"{value:.0f}"


def tenths(value: float) -> str:
    """Milliseconds or seconds: one decimal below ten, else none."""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def significant(value: float) -> str:
    """A p-value, to two digits."""
    return f"{value:.2g}"


class Teller:
    """Makes lines of claims about tables.

    Attributes:
        claims: that were made so far.
    """

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        """Of tables by the names of their files; the first column of each is its key."""
        self._tables = {
            name: frame.set_index(frame.columns[0], drop=False) for name, frame in tables.items()
        }
        self._line = 1
        self.claims: list[Claim] = []

    def say(self, text: str) -> None:
        """Words without a value."""
        self.claims.append(Claim(self._line, text))

    def tell(
        self, text: str, table: str, key: str, column: str, show: Callable[[float], str] = str
    ) -> None:
        """Words with one value, where `{}` stands.

        Raises:
            KeyError: if the table has no such cell.
        """
        value = self._tables[table].loc[key, column]
        shown = show(value)
        self.claims.append(
            Claim(self._line, text.format(shown), shown, value, table, str(key), column)
        )

    def end_line(self) -> None:
        """What comes next stands on the next line."""
        if self.claims and self.claims[-1].line == self._line:
            self._line += 1

    @property
    def lines(self) -> tuple[str, ...]:
        """The claims put together."""
        numbers = dict.fromkeys(claim.line for claim in self.claims)
        return tuple(
            "".join(claim.text for claim in self.claims if claim.line == number)
            for number in numbers
        )

    @property
    def table(self) -> pd.DataFrame:
        """A row a claim, with the columns of `Claim`; values as text."""
        rows = [asdict(claim) | {"value": str(claim.value)} for claim in self.claims]
        return pd.DataFrame(rows, columns=list(Claim.__dataclass_fields__))
