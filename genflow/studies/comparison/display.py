"""Where a comparison stands: a live table on a terminal, a bar in a notebook, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import Any, Protocol

from genflow.studies.reporting.notebook import Bar, in_notebook
from genflow.studies.reporting.numbers import duration, number
from genflow.studies.reporting.terminal import as_it_is, say
from genflow.training.closing import work

__all__ = ["Display", "Lines", "Live", "Notebook", "Silent", "display_for"]

_PATIENCE = 10.0  # seconds without a word


class Display(Protocol):
    """Is told what happens to trial number `index`."""

    def __enter__(self) -> Display: ...
    def __exit__(self, *exception: object) -> None: ...
    def event(self, index: int, event: dict[str, Any]) -> None: ...
    def done(self, index: int, result: dict[str, Any]) -> None: ...
    def say(self, line: str) -> None: ...


def display_for(trials: list[dict[str, Any]], budget: float | None, wanted: bool = True) -> Display:
    """The display that suits standard error: a live table, lines, or none if not wanted; in a notebook a bar."""
    if not wanted:
        return Silent()
    if in_notebook():
        return Notebook(trials)
    return Live(trials, budget) if sys.stderr.isatty() else Lines(trials)


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
        say(line)


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
            say(f"[{index + 1}/{len(self.trials)}] {_title(self.trials[index])}: training")
        if event["what"] != "evaluation":
            self.said = time.monotonic()
        elif time.monotonic() - self.said > _PATIENCE:
            self.said = time.monotonic()
            say(f"[{index + 1}/{len(self.trials)}] {_title(self.trials[index])}: evaluation, {event['stage']}")

    def done(self, index: int, result: dict[str, Any]) -> None:
        head = f"[{index + 1}/{len(self.trials)}] {_title(self.trials[index])}"
        figures = result.get("figures")
        if figures is None:
            say(f"{head}: {result['status']}")
            return
        nll = f"NLL {number(figures['nll'])} ± {number(figures['nll_se'])} nats"
        said = nll if math.isfinite(figures["nll"]) else result["status"].removeprefix("ok; ")
        done = work(result["history"]) if "history" in result else f"{figures['train_steps']:.0f} steps"
        say(f"{head}: {said}, {done} in {figures['train_seconds']:.1f} s")


class Notebook(Silent):
    """A bar for all trials, each a part of it that fills as its training goes on."""

    def __init__(self, trials: list[dict[str, Any]]):
        self.trials, self.bar = trials, Bar()
        self.began = time.monotonic()

    def __enter__(self) -> Notebook:
        self.began = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.__exit__(*exception)

    def event(self, index: int, event: dict[str, Any]) -> None:
        within = event.get("fraction", 0.0) if event["what"] == "training" else 1.0
        done = (index + 0.8 * within) / len(self.trials)  # the rest of a trial is its evaluation
        gone = time.monotonic() - self.began
        left = f", about {duration(gone * (1 - done) / done)} to go" if done > 0.02 else ""
        head = f"[{index + 1}/{len(self.trials)}] {_title(self.trials[index])}"
        self.bar.show(done, f"{head}: {event['what']}{left}")


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
        elapsed = sum(time.monotonic() - state["began"] for state in running)
        if self.lengths:
            each = sum(self.lengths) / len(self.lengths)
        elif self.budget:
            each = self.budget + 8
        elif running and running[0].get("fraction", 0) > 0.02:
            each = (time.monotonic() - running[0]["began"]) / running[0]["fraction"]
        else:
            return None
        return max(0.0, each * left - elapsed) / max(1, len(running))

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


def _bar(fraction: float, style: str) -> Any:
    from rich.progress_bar import ProgressBar

    return ProgressBar(total=1.0, completed=fraction, width=12, complete_style=style, finished_style=style)


def _title(trial: dict[str, Any]) -> str:
    title = f"{trial['data']}, {trial['label']}" + (f", seed {trial['seed']}" if trial["several"] else "")
    return " ".join(title.split())
