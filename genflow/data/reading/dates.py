"""Dates and times in words: how they are written, found from all of them, and what they count.

A notation reads a column if it reads every date of it. Where two do, as 03/04/2012 may be in March or in April, the one
decides by which the rows stand in order, with the more even steps; else the month stands first before a slash, the day
before a point.

The end of a day, 24:00, is the beginning of the next (ISO 8601).

Dates with an offset from UTC, as `2024-03-31T01:00+01:00`, are moments: they count in UTC, whatever their offsets are.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from genflow.data.kinds import JOINED, UNITS, moment_of, nanoseconds

__all__ = ["Dates", "counts", "dates", "is_clock", "no_dates", "unit_of"]

_DAYS = (
    "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%m.%d.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d",
    "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y",
    "%b %d %Y", "%B %d %Y", "%b %d, %Y", "%B %d, %Y", "%d%b%Y", "%Y-%m", "%Y/%m", "%m/%Y", "%b %Y", "%B %Y", "%b-%Y",
    "%a %b %d %Y", "%a, %d %b %Y",
)  # fmt: skip
_CLOCKS = (
    "%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%I:%M:%S %p", "%I:%M %p", "%I:%M%p", "%H.%M.%S", "%H:%M:%SZ", "%H:%M:%S.%fZ",
    "%H:%M:%S+00:00", "%H:%M:%S UTC",
)  # fmt: skip
_ZONED = tuple(f"{clock}{between}%z" for clock in ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f") for between in ("", " "))
_FORMATS = (
    *_DAYS,
    *(f"{day}{between}{clock}" for day, between, clock in itertools.product(_DAYS, " T", (*_CLOCKS, *_ZONED))),
    *_CLOCKS,
)
# Minutes and seconds have two digits: 0:2 is the result of a match, 1.0.3 a version.
_TIME = re.compile(r"\d{1,2}(?:[:.]\d\d){1,2}(?!\d)(?!:\d(?!\d))")
_DAYS_END = re.compile(r"(?<![\d:.+-])24(?=([:.]00){1,2}(?![\d:.]))")
_WORDS = {"b", "B", "a", "p"}  # codes of letters; the others are of digits
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = 1_000_000


class Dates(NamedTuple):
    """How dates are written, and what they count.

    Attributes:
        format: The notation, as `datetime.strftime` takes it.
        unit: What a number counts, of `UNITS`.
        counts: The number of each date.
        remark: What was guessed, '' for nothing.
    """

    format: str
    unit: str
    counts: np.ndarray
    remark: str = ""


def dates(words: Sequence[str], known: str = "") -> Dates | None:
    """The dates that words are; `None` if one is none.

    Args:
        words: The words, all different, in the order in which they come.
        known: A notation that is tried first.

    Example:
        >>> found = dates(["31/12/1969", "2/1/1970"])
        >>> found.format, found.unit, found.counts.tolist()
        ('%-d/%-m/%Y', 'days', [-1, 1])
        >>> dates(["18.00.00", "19.30.00"])[:2]
        ('%H.%M.%S', 'minutes')
        >>> dates(["never", "2012-01-01"]) is None
        True
    """
    if not words or not any(character.isdigit() for character in words[0]):
        return None
    known = _any_offset(known)
    candidates = [known] if known and _all_read(words[:1], known) else []
    times = all(map(_TIME.match, words))
    candidates = candidates or [
        form for form in _forms_by_shape().get(_shape(words[0]), ()) if _all_read(words[:1], form)
    ]
    candidates = [form for form in candidates if times or form not in _CLOCKS]
    some = words[:: max(1, len(words) // 50)]
    candidates = [form for form in candidates if _all_read(some, form)]
    found = [(form, micros) for form in candidates if (micros := _microseconds(words, form)) is not None]
    if not found:
        return None
    form, micros = found[0]
    remark = ""
    if len(found) > 1 and not all(np.array_equal(micros, other) for _, other in found[1:]):
        form, micros = min(found, key=lambda pair: (_irregularity(pair[1]), not _usual(pair[0])))
        if not _is_monotone(micros):
            remark = f"dates like {words[0]} are read with the {'month' if _month_first(form) else 'day'} first"
    if "%H" in form and (ends := [word for word in words if _DAYS_END.search(word)]):
        day = "" if is_clock(form) else " of the next day"
        remark = "; ".join(filter(None, (remark, f"{ends[0]} is read as 00:00{day}")))
    unit = unit_of(micros, "us")
    form = _unpad(form, words)
    if form.endswith("%z"):
        offsets = {_offset(word) for word in words}
        form = form.replace("%z", offsets.pop() if len(offsets) == 1 else "+00:00")
        if offsets:
            moments = f"dates like {words[0]} have different offsets from UTC: they are moments, samples have +00:00"
            remark = "; ".join(filter(None, (remark, moments)))
    return Dates(form, unit, micros // _per(unit), remark)


def no_dates(words: Sequence[str]) -> set[str] | None:
    """The few words that are none, where the others are dates in one notation; `None` where they are not.

    Args:
        words: The words, all different.

    Example:
        >>> no_dates(["2020-02-28", "2020-02-30", "2020-03-01", "unknown"]) == {"2020-02-30", "unknown"}
        True
    """
    some = words[:: max(1, len(words) // 50)]
    (shape, _), *_ = Counter(map(_shape, some)).most_common(1)
    some = [word for word in some if _shape(word) == shape]
    forms = [
        form
        for form in _forms_by_shape().get(shape, ())
        if 2 * sum(_all_read([word], form) for word in some) > len(some)
    ]
    if not forms or (forms[0] in _CLOCKS and not all(map(_TIME.match, some))):
        return None
    return min(({word for word in words if not _all_read([word], form)} for form in forms), key=len)


def unit_of(stamps: np.ndarray, numpy_unit: str) -> str:
    """The coarsest unit that all dates are whole in.

    Args:
        stamps: Whole numbers of the unit that NumPy calls `numpy_unit`.
        numpy_unit: One of the values of `UNITS`.

    Example:
        >>> unit_of(np.array([0, 7200]), "s")
        'hours'
    """
    finest = list(UNITS.values()).index(numpy_unit)
    one = nanoseconds(list(UNITS)[finest])
    for name in list(UNITS)[: finest + 1]:
        if not (stamps % (nanoseconds(name) // one)).any():
            return name
    return list(UNITS)[finest]


def counts(stamps: np.ndarray) -> tuple[np.ndarray, str]:
    """Dates or durations of NumPy as numbers, NaN where one is missing, and what they count.

    Args:
        stamps: `datetime64` or `timedelta64`, `(n,)`.

    Example:
        >>> counts(np.array(["1970-01-03", "NaT"], dtype="datetime64[ns]"))
        (array([ 2., nan]), 'days')
    """
    code, step = np.datetime_data(stamps.dtype)
    if code not in UNITS.values() or step != 1:
        stamps = stamps.astype(f"{stamps.dtype.kind}8[{'D' if code in 'YMW' else 'ns'}]")
        code, _ = np.datetime_data(stamps.dtype)
    gone = np.isnat(stamps)
    whole = stamps.astype("int64")
    unit = unit_of(whole[~gone], code)
    steps = nanoseconds(unit) // nanoseconds(list(UNITS)[list(UNITS.values()).index(code)])
    numbers = np.where(gone, 0, whole) // steps
    return np.where(gone, np.nan, numbers.astype(np.float64)), unit


def _per(unit: str) -> int:
    """Microseconds of a unit."""
    return max(1, nanoseconds(unit) // 1000)


def _shape(text: str) -> str:
    """A date with one sign for each number and each word: `9/a/9`."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", text))


def _shapes_of_format(form: str) -> set[str]:
    forms = {form.replace("%z", offset) for offset in ("Z", "+9", "-9", "+9:9", "-9:9")}
    return {_shape(re.sub(r"%([A-Za-z])", lambda code: "x" if code[1] in _WORDS else "9", each)) for each in forms}


@functools.cache
def _forms_by_shape() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for form in _FORMATS:
        for shape in _shapes_of_format(form):
            found.setdefault(shape, []).append(form)
    return found


_OFFSET = r"(?:Z|[+-]\d\d(?::?\d\d)?)$"
_ANY_OFFSET = re.compile(rf"(?<=%[SMf])( ?){_OFFSET}")


def _any_offset(form: str) -> str:
    """A notation that reads any offset from UTC, where it has one."""
    return _ANY_OFFSET.sub(r"\1%z", form)


def _offset(word: str) -> str:
    """The offset from UTC of a date, as it is written."""
    return "".join(re.findall(_OFFSET, word))


def _moment(word: str, form: str) -> datetime:
    """A date, in UTC where it has an offset.

    Raises:
        ValueError: It is none in this notation.
    """
    if form.endswith("%z"):
        word += "00" * bool(re.search(r"[+-]\d\d$", word))  # +01
    started = _DAYS_END.sub("00", word) if "%H" in form else word
    moment = moment_of(started, form) + timedelta(days=started != word)
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _all_read(words: Sequence[str], form: str) -> bool:
    try:
        for word in words:
            _moment(word, form.replace("%-", "%"))
    except (ValueError, OverflowError):  # of the year 10000
        return False
    return True


def _microseconds(words: Sequence[str], form: str) -> np.ndarray | None:
    """Microseconds since 1970 of each word; of a time of day since midnight. `None` if a word is none."""
    clock = is_clock(form)
    result = np.empty(len(words), dtype=np.int64)
    plain = form.replace("%-", "%")
    try:
        for i, word in enumerate(words):
            moment = _moment(word, plain)
            passed = moment.replace(year=1970, month=1, day=1) - _EPOCH if clock else moment - _EPOCH
            result[i] = (passed.days * 86_400 + passed.seconds) * _MICROSECOND + passed.microseconds
    except (ValueError, OverflowError):
        return None
    return result


def is_clock(form: str) -> bool:
    """Whether a notation is that of a time of day.

    Args:
        form: As `datetime.strftime` takes it.

    Example:
        >>> is_clock("%H:%M"), is_clock("%d/%m/%y %H:%M")
        (True, False)
    """
    return "%Y" not in form and "%y" not in form


def _is_monotone(stamps: np.ndarray) -> bool:
    steps = np.diff(stamps)
    return bool((steps > 0).all() or (steps < 0).all())


def _irregularity(stamps: np.ndarray) -> float:
    """The largest step of dates that stand in order, in the smallest; infinite where they do not."""
    steps = np.abs(np.diff(stamps))
    return float(steps.max() / steps.min()) if len(steps) and _is_monotone(stamps) else np.inf


def _month_first(form: str) -> bool:
    return form.startswith("%m")


def _usual(form: str) -> bool:
    return _month_first(form) == ("/" in form[:6])


def _unpad(form: str, words: Sequence[str]) -> str:
    """The notation with days, months and hours of one digit, where they are separated and written so."""
    for code in ("%d", "%m", "%I", "%H"):
        if code not in JOINED.sub("", form):
            continue
        pattern = _pattern(form, code)
        found = [match[1] for word in words[:1000] if (match := pattern.fullmatch(word))]
        if any(len(digits) == 1 for digits in found):
            form = form.replace(code, f"%-{code[1]}")
    return form


def _pattern(form: str, code: str) -> re.Pattern[str]:
    """What a date looks like, with the digits of one of its parts as a group."""
    parts = re.split(r"(%-?[A-Za-z])", form)
    known = {"b": "[^ ,-]+", "B": "[^ ,-]+", "a": "[^ ,-]+", "p": "[^ ]+", "z": "Z|[+-][0-9:]+"}
    return re.compile(
        "".join(
            re.escape(part)
            if not re.fullmatch(r"%-?[A-Za-z]", part)
            else r"(\d+)"
            if part == code
            else known.get(part[-1], r"\d+")
            for part in parts
        )
    )
