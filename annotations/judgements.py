"""What people have said of pairs, as arrays: what agreement and consensus are computed from.

A unit is a pair, a voter an annotator. Values name the response that won, never the side on which
it was shown: who reads labels from the database has undone the shuffle already.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Int8s = npt.NDArray[np.int8]
Int32s = npt.NDArray[np.int32]
Booleans = npt.NDArray[np.bool_]


class Value(IntEnum):
    """What a judgement says; also the order of the columns wherever values are columns."""

    A = 0
    B = 1
    TIE = 2
    BOTH_BAD = 3


SIDES = (Value.A, Value.B)
STRONGEST = 3
SWAPPED = np.array([Value.B, Value.A, Value.TIE, Value.BOTH_BAD], dtype=np.int8)


@dataclass(frozen=True, eq=False)
class Judgements:
    """N judgements, in any order; at most one by a voter of a unit.

    Units and voters are indices into lists that the caller keeps. Raises ValueError.
    """

    units: Int32s  # (N,)
    voters: Int32s  # (N,)
    values: Int8s  # (N,) of Value
    strengths: Int8s  # (N,) 1 to 3, how clearly the winner won; 0 where it was not given
    unit_count: int
    voter_count: int

    def __post_init__(self) -> None:
        columns = (self.units, self.voters, self.values, self.strengths)
        if len({column.shape for column in columns}) > 1 or self.units.ndim != 1:
            raise ValueError("Units, voters, values and strengths must be of one length.")
        _check_range("units", self.units, self.unit_count)
        _check_range("voters", self.voters, self.voter_count)
        _check_range("values", self.values, len(Value))
        _check_range("strengths", self.strengths, STRONGEST + 1)
        self._check_distinct()

    @classmethod
    def of(
        cls,
        units: npt.ArrayLike,
        voters: npt.ArrayLike,
        values: npt.ArrayLike,
        strengths: npt.ArrayLike | None = None,
        *,
        unit_count: int,
        voter_count: int,
    ) -> "Judgements":
        """Judgements from whatever numpy can read; without strengths, none was given. Raises
        ValueError."""
        said = _whole(values, np.int8)
        return cls(
            units=_whole(units, np.int32),
            voters=_whole(voters, np.int32),
            values=said,
            strengths=np.zeros_like(said) if strengths is None else _whole(strengths, np.int8),
            unit_count=unit_count,
            voter_count=voter_count,
        )

    def __len__(self) -> int:
        return len(self.units)

    def where(self, mask: Booleans) -> "Judgements":
        """Those that the mask (N,) keeps; units and voters keep their indices."""
        return Judgements(
            self.units[mask],
            self.voters[mask],
            self.values[mask],
            self.strengths[mask],
            self.unit_count,
            self.voter_count,
        )

    def of_values(self, *values: Value) -> "Judgements":
        """Those that say one of the values."""
        return self.where(np.isin(self.values, values))

    def sides_only(self) -> "Judgements":
        """Those that prefer a response."""
        return self.of_values(*SIDES)

    def swapped(self) -> "Judgements":
        """The same judgements, had each A been stored as B: nothing that is learnt from them may
        change but the name."""
        return Judgements(
            self.units,
            self.voters,
            SWAPPED[self.values],
            self.strengths,
            self.unit_count,
            self.voter_count,
        )

    def votes(self) -> Int32s:
        """How often each unit was given each value, (unit_count, 4)."""
        return count_table(self.units, self.values, self.unit_count, len(Value))

    def per_unit(self) -> Int32s:
        """How many judgements each unit has, (unit_count,)."""
        return np.bincount(self.units, minlength=self.unit_count).astype(np.int32)

    def _check_distinct(self) -> None:
        cells = np.sort(self.units.astype(np.int64) * max(self.voter_count, 1) + self.voters)
        again = cells[1:] == cells[:-1]
        if again.any():
            unit, voter = divmod(int(cells[1:][again][0]), self.voter_count)
            raise ValueError(f"Voter {voter} judges unit {unit} more than once.")


def count_table(
    rows: npt.NDArray[Any], columns: npt.NDArray[Any], row_count: int, column_count: int
) -> Int32s:
    """How often row and column come together, (N,) and (N,) -> (row_count, column_count)."""
    cells = rows.astype(np.int64) * column_count + columns
    counts = np.bincount(cells, minlength=row_count * column_count)
    return counts.astype(np.int32).reshape(row_count, column_count)


def _check_range(name: str, column: npt.NDArray[Any], end: int) -> None:
    if len(column) and not (column.min() >= 0 and column.max() < end):
        raise ValueError(f"All {name} must lie from 0 to {end - 1}.")


def _whole(numbers: npt.ArrayLike, dtype: type[np.signedinteger[Any]]) -> npt.NDArray[Any]:
    """Numbers in a narrower type that must not change them."""
    given = np.asarray(numbers)
    narrow = given.astype(dtype)
    if (narrow != given).any():
        raise ValueError(f"These must be whole numbers that {dtype.__name__} can hold.")
    return narrow
