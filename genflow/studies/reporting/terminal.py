"""What a terminal shows: names as they are, tables as wide as fit, and where a long work stands."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from genflow.studies.reporting.notebook import Bar, in_notebook
from genflow.studies.reporting.numbers import duration

__all__ = ["Telling", "as_it_is", "as_wide_as_fits", "follow", "say"]

_PATIENCE = 10.0  # seconds without a word
_EVERY = 5.0  # seconds between two lines where no bar can be drawn


def say(line: str) -> None:
    """A line on standard error."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def as_it_is(text: str) -> Any:
    """A text for a cell of a table, of which rich makes no markup, no picture and no second line."""
    from rich.text import Text

    return Text(re.sub(r"[\r\n\t\v\f]+", " ", text))


def as_wide_as_fits(
    build: Callable[[list[Any], bool], Any], columns: Sequence[Any], less: Sequence[Any], console: Any
) -> Any:
    """A rich table whose numbers are whole: columns go until it fits, and where none can go, cells are folded.

    Args:
        build: Makes the table of some columns; the flag says whether to fold what is too long.
        columns: All columns.
        less: Those that a narrow terminal goes without, the first to go first.
        console: Where it is to be printed.
    """
    shown = list(columns)
    for column in [*less, None]:
        table = build(shown, False)
        if console.measure(table, options=console.options.update(width=1000)).maximum <= console.width:
            return table
        if column is not None:
            shown.remove(column)
    return build(shown, True)


class Telling:
    """Says on standard error what is being done: on one line of a terminal, elsewhere a line now and then."""

    def __init__(self) -> None:
        self.said = time.monotonic()
        self.status: Any = None

    def __enter__(self) -> Telling:
        if sys.stderr.isatty():
            from rich.console import Console

            self.status = Console(stderr=True).status("")
            self.status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.status is not None:
            self.status.stop()

    def __call__(self, what: str) -> None:
        if self.status is not None:
            self.status.update(what)
        elif time.monotonic() - self.said > _PATIENCE:
            self.said = time.monotonic()
            say(what)


def follow(items: Iterable[Any], total: int, what: str, wanted: bool) -> Iterator[Any]:
    """The items, with a bar on standard error while they last; where that is no terminal, with a line now and then.

    In a notebook the bar is the notebook's.
    """
    if not wanted:
        yield from items
    elif in_notebook():
        yield from _follow_in_notebook(items, total, what)
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(items, description=what, total=total, console=Console(stderr=True), transient=True)
    else:
        began = said = time.monotonic()
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - said >= _EVERY and done:
                said = now
                left = duration((now - began) / done * (total - done))
                print(f"{what}: {done} of {total}, about {left} to go", file=sys.stderr, flush=True)  # noqa: T201
            yield item


def _follow_in_notebook(items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
    began = time.monotonic()
    with Bar() as bar:
        for done, item in enumerate(items):
            left = (time.monotonic() - began) / done * (total - done) if done else 0.0
            bar.show(done / total, f"{what}: {done} of {total}" + (f", about {duration(left)} to go" if done else ""))
            yield item
