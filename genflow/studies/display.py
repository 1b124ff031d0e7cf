"""Where a comparison stands: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from genflow.closing import work

__all__ = [
    "Display",
    "Lines",
    "Live",
    "Silent",
    "Telling",
    "as_it_is",
    "as_wide_as_fits",
    "display_for",
    "duration",
    "leaderboard_table",
    "number",
]

_PATIENCE = 10.0  # seconds without a word


class Display(Protocol):
    """Is told what happens to trial number `index`."""

    def __enter__(self) -> Display: ...
    def __exit__(self, *exception: object) -> None: ...
    def event(self, index: int, event: dict[str, Any]) -> None: ...
    def done(self, index: int, result: dict[str, Any]) -> None: ...
    def say(self, line: str) -> None: ...


def display_for(trials: list[dict[str, Any]], budget: float | None, wanted: bool = True) -> Display:
    """The display that suits standard error: a live table, lines, or none if not wanted."""
    if not wanted:
        return Silent()
    return Live(trials, budget) if sys.stderr.isatty() else Lines(trials)


def duration(seconds: float) -> str:
    """A time for people: `8 s`, `2:05`, `1:02:03`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def number(value: float | None, digits: int = 3) -> str:
    """A number of a table: empty where there is none."""
    if value is None or value != value:
        return ""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits}f}"
    return f"{value:.1e}"


class Silent:
    """Says nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def event(self, index: int, event: dict[str, Any]) -> None:
        pass

    def done(self, index: int, result: dict[str, Any]) -> None:
        pass

    def say(self, line: str) -> None:
        """Passes a line on that was not its own."""
        _say(line)


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
            _say(what)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


class Lines(Silent):
    """One line when a trial begins and one when it ends; now and then where a long evaluation stands."""

    def __init__(self, trials: list[dict[str, Any]]):
        self.trials = trials
        self.begun: set[int] = set()
        self.said = 0.0

    def __enter__(self) -> Lines:
        return self

    def event(self, index: int, event: dict[str, Any]) -> None:
        if index not in self.begun:
            self.begun.add(index)
            _say(f"[{index + 1}/{len(self.trials)}] {_title(self.trials[index])}: training")
        if event["what"] != "evaluation":
            self.said = time.monotonic()
        elif time.monotonic() - self.said > _PATIENCE:
            self.said = time.monotonic()
            _say(f"[{index + 1}/{len(self.trials)}] {_title(self.trials[index])}: evaluation, {event['stage']}")

    def done(self, index: int, result: dict[str, Any]) -> None:
        head = f"[{index + 1}/{len(self.trials)}] {_title(self.trials[index])}"
        figures = result.get("figures")
        if figures is None:
            _say(f"{head}: {result['status']}")
            return
        nll = f"NLL {number(figures['nll'])} ± {number(figures['nll_se'])} nats"
        said = nll if math.isfinite(figures["nll"]) else result["status"].removeprefix("ok; ")
        done = work(result["history"]) if "history" in result else f"{figures['train_steps']:.0f} steps"
        _say(f"{head}: {said}, {done} in {figures['train_seconds']:.1f} s")


class Live(Silent):
    """A table with a row for each trial, and what is left of the whole."""

    def __init__(self, trials: list[dict[str, Any]], budget: float | None):
        from rich.console import Console
        from rich.live import Live as RichLive

        self.trials, self.budget = trials, budget
        self.states: list[dict[str, Any]] = [{} for _ in trials]
        self.results: list[dict[str, Any] | None] = [None] * len(trials)
        self.began = time.monotonic()
        self.lengths: list[float] = []
        self.console = Console(stderr=True)
        self.live = RichLive(console=self.console, refresh_per_second=4, transient=True, get_renderable=self._table)

    def __enter__(self) -> Live:
        self.began = time.monotonic()
        self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.live.stop()

    def event(self, index: int, event: dict[str, Any]) -> None:
        state = self.states[index]
        state.setdefault("began", time.monotonic())
        state.update(event)

    def done(self, index: int, result: dict[str, Any]) -> None:
        self.results[index] = result
        self.lengths.append(time.monotonic() - self.states[index].get("began", time.monotonic()))

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _remaining(self) -> float | None:
        left = sum(result is None for result in self.results)
        running = [state for state, result in zip(self.states, self.results, strict=True) if state and result is None]
        elapsed = time.monotonic() - running[0]["began"] if running else 0.0
        if self.lengths:
            each = sum(self.lengths) / len(self.lengths)
        elif self.budget:
            each = self.budget + 8
        elif running and running[0].get("fraction", 0) > 0.02:
            each = elapsed / running[0]["fraction"]
        else:
            return None
        return max(0.0, each * left - elapsed)

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        remaining = self._remaining()
        caption = f"{duration(time.monotonic() - self.began)} gone"
        if remaining is not None:
            caption += f", about {duration(remaining)} to go"
        table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", pad_edge=False)
        several = len({trial["seed"] for trial in self.trials}) > 1
        table.add_column("data", no_wrap=True, max_width=20)
        table.add_column("model", no_wrap=True, max_width=18)
        if several:
            table.add_column("seed", justify="right")
        table.add_column("stage", no_wrap=True, max_width=18)
        table.add_column("", width=12)
        for name in ("steps", "loss", "valid.", "left"):
            table.add_column(name, justify="right", no_wrap=True)
        shown = ""
        for trial, state, result in self._visible():
            seed = [str(trial["seed"])] if several else []
            bar: Any = ""
            data, label = as_it_is(trial["data"] if trial["data"] != shown else ""), as_it_is(trial["label"])
            shown = trial["data"]
            if result is not None:
                figures = result.get("figures")
                if figures is None:
                    table.add_row(data, label, *seed, Text("failed", style="red"), "", "", "", "", "")
                    continue
                bar = _bar(1.0, "green")
                steps = f"{figures['train_steps']:.0f}"
                done = Text("done", style="green")
                table.add_row(data, label, *seed, done, bar, steps, "", number(state.get("validation")), "")
            elif state:
                fraction = state.get("fraction", 0.0)
                training = state.get("what") == "training"
                left = ""
                if training and self.budget:
                    left = duration(max(0.0, self.budget * (1 - fraction)))
                elif training and fraction > 0.02:
                    left = duration(state.get("seconds", 0.0) * (1 - fraction) / fraction)
                bar = _bar(fraction, "cyan")
                numbers = (str(state.get("step", "")), number(state.get("loss")), number(state.get("validation")))
                stage = state.get("stage", "starting")
                table.add_row(data, label, *seed, stage, bar, *numbers, left)
            else:
                table.add_row(data, label, *seed, Text("waiting", style="dim"), "", "", "", "", "")
        return table

    def _visible(self) -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]]:
        """All rows if they fit on the screen, otherwise those around the one that runs."""
        rows = list(zip(self.trials, self.states, self.results, strict=True))
        room = max(3, self.console.size.height - 6)
        if len(rows) <= room:
            return rows
        current = next((i for i, result in enumerate(self.results) if result is None), len(rows) - 1)
        first = min(max(0, current - room // 2), len(rows) - room)
        return rows[first : first + room]


_COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "NLL (nats)": lambda row: (
        f"{number(row['nll'])} ±{number(row['nll_se'])}" if math.isfinite(row["nll"]) else number(row["nll"]) or "–"
    ),
    "standardized": lambda row: number(row["nll_standardized"]),
    "W2": lambda row: number(row["w2"]),
    "MMD²": lambda row: "" if row["mmd"] != row["mmd"] else f"{row['mmd']:.1e}",
    "C2ST": lambda row: number(row["c2st"], 2),
    "inversion": lambda row: (
        "" if row["inversion_error"] != row["inversion_error"] else f"{row['inversion_error']:.0e}"
    ),
    "NFE": lambda row: number(row["nfe"], 0),
    "steps": lambda row: number(row["train_steps"], 0),
    "train s": lambda row: number(row["train_seconds"], 1),
    "MB": lambda row: number(row["peak_mb"], 0),
}
_DISPENSABLE = ("inversion", "MB", "train s", "MMD²", "steps", "NFE", "C2ST", "W2", "standardized")


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


def leaderboard_table(frame: Any, title: str, console: Any) -> Any:
    """The leaderboard of one data set, as a rich table with as many columns as fit.

    Args:
        frame: Rows of `Board.summary` for that data set.
        title: Its title.
        console: Where it is to be printed.
    """
    widest = max(12, console.width // 3)
    return as_wide_as_fits(
        lambda columns, fold: _leaderboard(frame, title, columns, widest, fold), list(_COLUMNS), _DISPENSABLE, console
    )


def _leaderboard(frame: Any, title: str, columns: list[str], widest: int, fold: bool) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from genflow.studies.board import records

    table = Table(title=as_it_is(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("  model", overflow="fold", max_width=widest)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=not fold, overflow="fold")
    for row in records(frame):
        if not row["status"].startswith("ok"):
            style = "red" if row["status"].startswith("failed") else "dim"
            table.add_row(Text(f"  {row['model']}", style=style), Text(row["status"].partition(":")[0], style=style))
            continue
        mark = "*" if row["best"] else "=" if row["tied"] else " "
        cells = [as_it_is(f"{mark} {row['model']}"), *(_COLUMNS[name](row) for name in columns)]
        table.add_row(*cells, style="bold" if row["best"] else None)
    return table


def _bar(fraction: float, style: str) -> Any:
    from rich.progress_bar import ProgressBar

    return ProgressBar(total=1.0, completed=fraction, width=12, complete_style=style, finished_style=style)


def _title(trial: dict[str, Any]) -> str:
    title = f"{trial['data']}, {trial['label']}" + (f", seed {trial['seed']}" if trial["several"] else "")
    return " ".join(title.split())


def as_it_is(text: str) -> Any:
    """A text for a cell of a table, of which rich makes no markup, no picture and no second line."""
    from rich.text import Text

    return Text(re.sub(r"[\r\n\t\v\f]+", " ", text))
