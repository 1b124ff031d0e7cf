"""What the columns of a table hold: their kinds, and rows of numbers as the table that people know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from genflow.data.conditions import class_name
from genflow.errors import InputError
from genflow.extras import extra
from genflow.interfaces import Component

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "JOINED",
    "KINDS",
    "LEFT_OUT",
    "NULLABLE",
    "UNITS",
    "Column",
    "Schema",
    "moment_of",
    "nanoseconds",
    "spelt_values",
    "utc_offset",
]

KINDS = ("continuous", "integer", "class", "boolean", "date")
"""What a column that is modelled may hold."""
LEFT_OUT = ("constant", "identifier")
"""What a column that no model sees may hold."""
UNITS = {
    "days": "D",
    "hours": "h",
    "minutes": "m",
    "seconds": "s",
    "milliseconds": "ms",
    "microseconds": "us",
    "nanoseconds": "ns",
}
"""What the number of a date or a duration may count, the coarsest first, and NumPy's name of it."""
_NANOSECONDS = (86_400 * 10**9, 3_600 * 10**9, 60 * 10**9, 10**9, 10**6, 10**3, 1)
NULLABLE = {"bool": "boolean", "uint8": "UInt8", "uint16": "UInt16", "uint32": "UInt32",
             "uint64": "UInt64", "int8": "Int8", "int16": "Int16", "int32": "Int32", "int64": "Int64"}  # fmt: skip
"""The dtypes of pandas that hold gaps beside whole numbers and truth values, by those that hold none."""

JOINED = re.compile("(?:%[YymdHIMS]){2,}")
"""Parts of a notation of dates that nothing separates, as in `%Y%m%d`: each has all of its digits."""


def nanoseconds(unit: str) -> int:
    """What a unit of `UNITS` lasts.

    Example:
        >>> nanoseconds("microseconds")
        1000
    """
    return _NANOSECONDS[list(UNITS).index(unit)]


def utc_offset(form: str) -> timedelta:
    """How far the clock of a notation is ahead of UTC: that of `%H:%M+01:00` by an hour.

    Args:
        form: The notation, as `datetime.strftime` takes it.

    Example:
        >>> utc_offset("%Y-%m-%dT%H:%M+01:00"), utc_offset("%Y-%m-%d").seconds
        (datetime.timedelta(seconds=3600), 0)
    """
    found = _OFFSET.search(form)
    if found is None:
        return timedelta()
    ahead = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    return -ahead if found[1] == "-" else ahead


def moment_of(text: str, form: str) -> datetime:
    """A date, as `datetime.strptime` reads it, but for one that may be two: 2022111, in January or in November.

    Args:
        text: The date.
        form: Its notation.

    Raises:
        ValueError: It is none, or parts that nothing separates have not all of their digits.

    Example:
        >>> moment_of("20220111", "%Y%m%d")
        datetime.datetime(2022, 1, 11, 0, 0)
    """
    moment = datetime.strptime(text, form)
    for parts in JOINED.findall(form):
        digits = 2 * parts.count("%") + 2 * parts.count("Y")
        if not re.search(rf"(?<!\d)\d{{{digits}}}(?!\d)", text):
            raise ValueError(f"{text!r} came; {digits} digits would do")
    return moment


_OFFSET = re.compile(r"%[SMf] ?([+-])(\d\d):?(\d\d)?$")


@dataclass(frozen=True)
class Column(Component):
    """One column of a table, and how its values are numbers.

    Attributes:
        name: Its name.
        kind: One of `KINDS`, or of `LEFT_OUT`.
        classes: The names of its classes; the number of a row is the place of its class, from 0. A boolean has two,
            `False` and `True` in its own spelling.
        grid: The width of the grid that its numbers are recorded on, such as 0.01; 0 where they are on none.
        missing: Whether values may be missing; the number of such a row is NaN.
        unit: Of a date, or a duration, what its number counts, of `UNITS`; of a date since 1970 (in UTC where its
            notation has an offset from it), of a time of day since midnight.
        dtype: The pandas dtype that samples come back in; of categories also that of these, `category[int64], ordered`;
            `time` where they are Python's own times of day.
        format: Of a date in a file of text, how it is written there, as `datetime.strftime` takes it; of codes of one
            length such as 00501, how the number becomes one, `05d`.
        value: What a constant column holds.
        condition: Whether the others are conditioned on it: no model draws it.
        sign: Of numbers in a file of text, the unit or the sign of money or shares that stood at each of them and was
            left out, such as kg: another one beside later rows is refused.
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
    condition: bool = False
    sign: str = ""

    @property
    def modelled(self) -> bool:
        """Whether a model sees it, and draws it."""
        return self.kind not in LEFT_OUT and not self.condition

    def number(self, text: str) -> float:
        """The number of a date that a person typed, in the notation of the table or as 2012-01-31.

        Args:
            text: The date.

        Raises:
            InputError: It is none.

        Example:
            >>> Column("day", "date", unit="days", format="%d.%m.%Y").number("2.1.1970")
            1.0
        """
        for form in (self.format.replace("%-", "%"), "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"):
            try:
                moment = np.datetime64(moment_of(text, form) - utc_offset(form)) if form else None
            except ValueError:
                continue
            if moment is not None:
                return float(
                    (moment - np.datetime64("1970-01-01")).astype("m8[ns]").astype(float) / nanoseconds(self.unit)
                )
        raise InputError(f"{self.name}: {text!r} came; a date such as 2012-01-31 would do")

    def written_in(self, digits: int) -> Column:
        """The same whole numbers, written in so many digits: 501 is 00501.

        Args:
            digits: Their number.

        Example:
            >>> Column("zip", "integer", dtype="int64").written_in(5).series(np.array([501.0, 94110.0])).tolist()
            ['00501', '94110']
        """
        value = None if self.value is None else f"{self.value:0{digits}d}"
        return replace(self, dtype="str", format=f"0{digits}d", value=value)

    def series(self, numbers: np.ndarray) -> pd.Series:
        """Its numbers as a column of a frame: classes, dates, whole numbers and gaps as they were.

        Args:
            numbers: One for each row, `(n,)`; for a constant only their count matters.

        Example:
            >>> column = Column("city", "class", ("Graz", "Oslo"), missing=True, dtype="object")
            >>> column.series(np.array([1.0, np.nan])).tolist()
            ['Oslo', nan]
        """
        with extra("data"):
            import pandas as pd

        numbers = np.asarray(numbers, dtype=np.float64)
        gone = np.isnan(numbers)
        if self.kind == "constant":
            return pd.Series([self.value] * len(numbers), name=self.name)
        if self.kind in ("class", "boolean"):
            return self._words(numbers, gone)
        if self.kind == "date" or self.unit:
            return self._dates(numbers, gone)
        return self._numbers(numbers, gone)

    def _words(self, numbers: np.ndarray, gone: np.ndarray) -> pd.Series:
        """Classes in the order of their places; a place that is none of theirs is a gap."""
        import pandas as pd

        places = np.where(gone, -1, np.rint(np.where(gone, 0, numbers))).astype(int)
        places = np.where(places < len(self.classes), places, -1)
        found = _CATEGORY.fullmatch(self.dtype)
        dtype = found[1] if found else self.dtype if self.dtype.startswith("interval") else None
        classes = spelt_values(self.classes, dtype) if dtype else None
        classes = pd.Index(list(self.classes)) if classes is None else classes
        ordered = found is not None and found[2] is not None
        series = pd.Series(pd.Categorical.from_codes(places, categories=classes, ordered=ordered), name=self.name)
        if found:
            return series
        words = series.astype("object")
        if dtype:
            return words.astype(classes.dtype)
        if self.kind == "boolean" and self.dtype.lower().startswith("bool"):
            truth = words.map(dict(zip(self.classes, (False, True))))
            return truth.astype(self._dtype(gone | (places < 0)))
        if self.dtype in ("object", "str"):
            return words if self.dtype == "object" or _before_pandas_3() else words.astype("str")
        if self.dtype.lower().startswith(("int", "uint", "float")):  # numbers that are names of classes
            return pd.to_numeric(words).astype(self._dtype(gone))
        return words.astype(self._dtype(gone))

    def _numbers(self, numbers: np.ndarray, gone: np.ndarray) -> pd.Series:
        """Numbers with the decimals that were recorded."""
        import pandas as pd

        if self.format:
            codes = [None if lost else f"{max(0, round(value)):{self.format}}" for value, lost in zip(numbers, gone)]
            return self._text(codes)
        dtype = self._dtype(gone)
        whole = self.dtype.lower().startswith(("int", "uint"))
        if whole:
            bounds = np.iinfo(self.dtype.lower().partition("[")[0])
            numbers = np.clip(np.rint(numbers), float(bounds.min), float(bounds.max))
            if bounds.bits == 64:  # the largest is no double
                numbers = np.where(numbers >= float(bounds.max), np.nextafter(float(bounds.max), 0), numbers)
        elif self.grid:
            numbers = np.round(numbers, max(0, round(-np.log10(self.grid)))) + 0.0  # of two zeros, that without a sign
        if self.dtype == "object" or "decimal" in self.dtype:
            figures = max(0, round(-np.log10(self.grid))) if self.grid else 12
            exact = [None if value != value else Decimal(f"{value:.{figures}f}") for value in numbers]
            return pd.Series(exact, name=self.name, dtype=self.dtype)
        return pd.Series(numbers, name=self.name).astype(dtype)

    def _dtype(self, gone: np.ndarray) -> Any:
        """The dtype that also holds gaps, where there are some."""
        return NULLABLE.get(self.dtype, self.dtype) if gone.any() else self.dtype

    def _text(self, words: list[str | None]) -> pd.Series:
        import pandas as pd

        dtype: Any = self.dtype
        series = pd.Series(words, name=self.name, dtype="object")
        return series if dtype == "str" and _before_pandas_3() else series.astype(dtype)

    def _dates(self, numbers: np.ndarray, gone: np.ndarray) -> pd.Series:
        import pandas as pd

        counts = np.where(gone, np.iinfo("int64").min, np.rint(np.where(gone, 0, numbers)).astype("int64"))  # NaT
        kind = "m8" if self.dtype.startswith(("timedelta", "duration")) else "M8"
        stamps = counts.view(f"{kind}[{UNITS[self.unit]}]")
        if self.unit in ("days", "hours", "minutes"):  # pandas counts seconds at the coarsest
            stamps = stamps.astype(f"{kind}[s]")
        series = pd.Series(stamps, name=self.name)
        dtype: Any = self.dtype
        if self.dtype.startswith("time") and kind == "M8":
            times = pd.Series(
                [None if date is pd.NaT else date.time() for date in series], name=self.name, dtype=object
            )
            return times if dtype == "time" else times.astype(dtype)
        if self.format:
            ahead = utc_offset(self.format)
            return self._text([None if date is pd.NaT else (date + ahead).strftime(self.format) for date in series])
        if dtype.startswith("period["):
            return series.dt.to_period(dtype[len("period[") : -1])
        if dtype == "object":
            return series.dt.date
        if dtype.startswith("datetime64[") and "," in dtype:
            zone = dtype.partition(",")[2].strip(" ]")
            return series.dt.tz_localize("UTC").dt.tz_convert(zone).astype(dtype)
        return series.astype(dtype)


_CATEGORY = re.compile(r"category(?:\[(.+)\])?(, ordered)?")
_INTERVAL = re.compile(r"interval\[(.+), (\w+)\]")


def spelt_values(words: Sequence[str], dtype: str) -> pd.Index | None:
    """The values of a pandas dtype that words spell: numbers, dates, intervals; `None` if they spell none.

    Args:
        words: The words, as `genflow.data.conditions.class_name` makes them of values.
        dtype: The dtype.

    Example:
        >>> spelt_values(["(0, 1]", "(1, 2]"], "interval[int64, right]")[0].right
        np.int64(1)
        >>> spelt_values(["1", "two"], "int64") is None
        True
    """
    with extra("data"):
        import pandas as pd

    try:
        if found := _INTERVAL.fullmatch(dtype):
            ends = zip(*(word[1:-1].split(", ") for word in words))
            low, high = (cast(Any, spelt_values(each, found[1])) for each in ends)
            return pd.IntervalIndex.from_arrays(low, high, cast(Any, found[2]))
        if dtype in ("bool", "boolean"):
            return pd.Index([{"False": False, "True": True}[word] for word in words], dtype=dtype)
        return pd.Index(list(words)).astype(dtype)
    except (ValueError, TypeError, KeyError):
        return None


@dataclass(frozen=True)
class Schema(Component):
    """The columns of a table in their order, those that no model sees among them.

    Attributes:
        columns: The columns.

    Example:
        >>> schema = Schema((Column("age", "integer", dtype="int64"), Column("country", "constant", value="AT")))
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

    @property
    def conditions(self) -> list[Column]:
        """The columns that the others are conditioned on."""
        return [column for column in self.columns if column.condition]

    def frame(self, numbers: np.ndarray, given: Mapping[str, Sequence[Any]] | None = None) -> pd.DataFrame:
        """Rows of numbers as the table that people know: its columns, their order, dtypes, classes, dates and gaps.

        Identifiers are no part of it.

        Args:
            numbers: Rows, `(n, modelled columns)`.
            given: The columns of the condition, as `Encoding.table` has them; they are left out where none came.
        """
        with extra("data"):
            import pandas as pd

        rows = iter(np.asarray(numbers, dtype=np.float64).T)
        nothing = np.zeros(len(numbers))
        shown: list[pd.Series] = []
        for column in self.columns:
            if column.condition:
                if given is not None and column.name in given:
                    shown.append(_as_given(column, given[column.name]))
            elif column.kind != "identifier":
                shown.append(column.series(next(rows) if column.modelled else nothing))
        return pd.concat(shown, axis=1)


def _as_given(column: Column, values: Sequence[Any]) -> pd.Series:
    """A column of the condition in its dtype; its numbers are not rounded, they may be others than the table has."""
    import pandas as pd

    if column.classes:
        places = {name: float(place) for place, name in enumerate(column.classes)}
        return column.series(np.array([places.get(class_name(value), np.nan) for value in values]))
    if column.kind == "date" or column.unit:
        return column.series(np.asarray(values, dtype=np.float64))
    numbers = np.asarray(values, dtype=np.float64)
    counts = column.dtype.lower().startswith(("int", "uint")) or (column.kind == "integer" and bool(column.format))
    whole = counts and bool((numbers == np.rint(numbers)).all())
    return column.series(numbers) if whole else pd.Series(numbers, name=column.name)


def _before_pandas_3() -> bool:
    import pandas as pd

    return int(pd.__version__.partition(".")[0]) < 3
