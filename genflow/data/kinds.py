"""What the columns of a table hold: their kinds, and rows of numbers as the table that people know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genflow.extras import extra
from genflow.interfaces import Component

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KINDS", "LEFT_OUT", "Column", "Schema"]

KINDS = ("continuous", "integer", "class", "boolean", "date")
"""What a column that is modelled may hold."""
LEFT_OUT = ("constant", "identifier")
"""What a column that no model sees may hold."""
_UNITS = {"days": "D", "seconds": "s", "milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}


@dataclass(frozen=True)
class Column(Component):
    """One column of a table, and how its values are numbers.

    Attributes:
        name: Its name.
        kind: One of `KINDS`, or of `LEFT_OUT`.
        classes: The names of its classes; the number of a row is the place of its class, from 0. A boolean has the
            classes `False` and `True`.
        grid: The width of the grid that its numbers are recorded on, such as 0.01; 0 where they are on none.
        missing: Whether values may be missing; the number of such a row is NaN.
        unit: Of a date, or a duration, what its number counts: `days` or `seconds`, …; of a date since 1970.
        dtype: The pandas dtype that samples come back in.
        format: Of a date in a file of text, how it is written there, as `datetime.strftime` takes it.
        value: What a constant column holds.
    """

    name: str
    kind: str = "continuous"
    classes: Sequence[str] = ()
    grid: float = 0.0
    missing: bool = False
    unit: str = ""
    dtype: str = "float64"
    format: str = ""
    value: Any = None

    @property
    def modelled(self) -> bool:
        """Whether a model sees it."""
        return self.kind not in LEFT_OUT

    def series(self, numbers: np.ndarray) -> pd.Series:
        """Its numbers as a column of a frame: classes, dates, whole numbers and gaps as they were.

        Args:
            numbers: One for each row, `(n,)`; for a constant only their count matters.

        Example:
            >>> city = Column("city", "class", ("Graz", "Oslo"), missing=True, dtype="str")
            >>> city.series(np.array([1.0, np.nan])).tolist()
            ['Oslo', nan]
        """
        with extra("data"):
            import pandas as pd

        numbers = np.asarray(numbers, dtype=np.float64)
        gone = np.isnan(numbers)
        if self.kind == "constant":
            return pd.Series([self.value] * len(numbers), name=self.name)
        if self.kind in ("class", "boolean"):
            places = np.where(gone, -1, numbers).astype(int)
            series = pd.Series(pd.Categorical.from_codes(places, categories=list(self.classes)), name=self.name)
            if self.dtype == "category":
                return series
            if self.kind == "boolean":
                return series.astype("object").map({"False": False, "True": True}).astype(self._dtype(gone))
            words = series.astype("object")
            return words.astype(self.dtype) if self.dtype != "object" else words
        if self.kind == "date":
            return self._dates(numbers, gone)
        whole = self.dtype.lower().startswith(("int", "uint"))
        series = pd.Series(np.rint(numbers) if whole else numbers, name=self.name)
        return series.astype(self._dtype(gone))

    def _dtype(self, gone: np.ndarray) -> str:
        """The dtype that also holds gaps, where there are some."""
        if not gone.any():
            return self.dtype
        return {"bool": "boolean", "int64": "Int64"}.get(self.dtype, self.dtype)

    def _dates(self, numbers: np.ndarray, gone: np.ndarray) -> pd.Series:
        with extra("data"):
            import pandas as pd

        counts = np.where(gone, np.iinfo("int64").min, np.rint(np.where(gone, 0, numbers)).astype("int64"))  # NaT
        kind = "m8" if self.dtype.startswith("timedelta") else "M8"
        series = pd.Series(counts.view(f"{kind}[{_UNITS[self.unit]}]"), name=self.name)
        if self.format:
            return series.dt.strftime(self.format).astype(self.dtype)
        return series.astype(self.dtype)


@dataclass(frozen=True)
class Schema(Component):
    """The columns of a table in their order, those that no model sees among them.

    Attributes:
        columns: The columns.

    Example:
        >>> age = Column("age", "integer", dtype="int64", grid=1.0)
        >>> schema = Schema((age, Column("country", "constant", value="AT")))
        >>> schema.frame(np.array([[41.0], [17.0]]))
           age country
        0   41      AT
        1   17      AT
    """

    columns: Sequence[Column]

    @property
    def modelled(self) -> list[Column]:
        """The columns that a model sees, in the order of its numbers."""
        return [column for column in self.columns if column.modelled]

    def frame(self, numbers: np.ndarray) -> pd.DataFrame:
        """Rows of numbers as the table that people know: its columns, their order, dtypes, classes, dates and gaps.

        Identifiers are no part of it.

        Args:
            numbers: Rows, `(n, modelled columns)`.
        """
        with extra("data"):
            import pandas as pd

        given = iter(np.asarray(numbers, dtype=np.float64).T)
        nothing = np.zeros(len(numbers))
        shown = [column for column in self.columns if column.kind != "identifier"]
        return pd.concat([c.series(next(given) if c.modelled else nothing) for c in shown], axis=1)
