"""Has trials carried out by an executor, tells where they stand, and takes over what comes of each."""

from __future__ import annotations

import os
import secrets
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import replace
from pathlib import Path

from genflow.errors import reason
from genflow.studies.comparison.display import Display
from genflow.studies.comparison.plan import Plan
from genflow.studies.comparison.processes import Died, Processes
from genflow.studies.comparison.records import Outcome
from genflow.studies.comparison.results import Results
from genflow.studies.comparison.work import (
    OVERRUN,
    Delivery,
    Order,
    carry_out,
    carry_out_alone,
    last_event,
    last_lines,
    pack,
    unpack,
)

__all__ = ["conduct"]

_EVERY = 0.2  # seconds between two looks at where the trials stand
_SHOWN = 20  # lines of what a trial's process wrote; runs.json has more of them


def conduct(plan: Plan, results: Results, executor: Executor, display: Display) -> None:
    """Runs the trials that have not ended, and takes over what comes of each, also where it is interrupted.

    Args:
        plan: The plan; its data sets are in the folder.
        results: Where the outcomes go.
        executor: Who runs them.
        display: Is told of each of them, in their order.
    """
    run = _Run(plan, results, executor, display)
    try:
        for index in results.waiting:
            run.submit(index)
        while run.futures:
            run.look()
    except BaseException:
        run.stop()
        raise


class _Run:
    """The trials that are under way.

    Attributes:
        futures: Their answers to come, with the trials' numbers.
        orders: What was ordered, by the trial's number.
        shown: The place of a trial on the display.
    """

    def __init__(self, plan: Plan, results: Results, executor: Executor, display: Display):
        self.plan, self.results, self.executor, self.display = plan, results, executor, display
        self.futures: dict[Future[Delivery], int] = {}
        self.orders: dict[int, Order] = {}
        self.shown = {index: place for place, index in enumerate(results.waiting)}
        self.alone = isinstance(executor, Processes)
        self.carried: dict[str, dict[str, bytes]] = {}  # the data sets' files, for workers that do not see them

    def submit(self, index: int, elsewhere: bool = False) -> None:
        """Orders a trial; `elsewhere` of a worker that does not see its folder."""
        trial = self.results.trials[index]
        data = (self.results.folder / "evaluation" / trial.home).resolve()
        folder = self.results.workplace(trial).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("event.json", OVERRUN):  # of an earlier try
            (folder / name).unlink(missing_ok=True)
        order = Order(trial, data, folder, secrets.token_hex(8), os.getcwd(), self.plan.classes[trial.label])
        if elsewhere:
            if trial.home not in self.carried:
                self.carried[trial.home] = _data_files(data)
            order = replace(order, carried=self.carried[trial.home])
        (folder / "mark").write_text(order.mark, encoding="utf-8")
        self.orders[index] = order
        self.futures[self.executor.submit(carry_out_alone if self.alone else carry_out, order)] = index

    def look(self) -> None:
        """Waits for a moment, says where the trials stand, and takes over those that have ended."""
        ended, running = wait(self.futures, timeout=_EVERY, return_when=FIRST_COMPLETED)
        for future in running:
            index = self.futures[future]
            if event := last_event(self.orders[index].folder):
                self.display.event(self.shown[index], event)
        for future in ended:
            self._take(self.futures.pop(future), future)

    def stop(self) -> None:
        """Ends what runs, and keeps what it has left."""
        for future, index in self.futures.items():
            future.cancel()
            (self.orders[index].folder / "mark").unlink(missing_ok=True)  # a worker that goes on will see it
        if isinstance(self.executor, Processes):
            self.executor.shutdown(cancel_futures=True)
        for index in self.futures.values():
            doing = last_event(self.orders[index].folder).get("what")
            self.results.take(index, Outcome(f"not done: interrupted in its {doing}") if doing else Outcome())

    def _take(self, index: int, future: Future[Delivery]) -> None:
        folder = self.orders[index].folder
        output = last_lines(folder) if self.alone else ""
        try:
            delivery = future.result()
        except (Exception, CancelledError) as error:
            outcome = _failure(error, folder, output)
        else:
            if delivery.outcome is None:
                self.submit(index, elsewhere=True)
                return
            unpack(delivery.files, folder)
            outcome = replace(delivery.outcome, output=output)
        event = last_event(folder) or {"what": "training", "stage": "starting"}
        self.results.take(index, outcome)
        if outcome.ended:
            self.display.event(self.shown[index], event)
            self.display.done(self.shown[index], outcome.to_json())
        lines = outcome.output.splitlines()
        if len(lines) > _SHOWN:
            lines = [f"({len(lines) - _SHOWN} lines more in runs.json)", *lines[-_SHOWN:]]
        for line in lines:
            self.display.say(f"  | {line}")


def _failure(error: BaseException, folder: Path, output: str) -> Outcome:
    """What became of a trial that gave no answer."""
    if isinstance(error, BrokenExecutor | CancelledError):
        return Outcome(f"not done: {reason(error)}")
    if not isinstance(error, Died):
        return Outcome(f"failed: {reason(error)}")
    status = f"failed: {error}"
    if (folder / OVERRUN).exists():
        status = f"failed: {(folder / OVERRUN).read_text(encoding='utf-8')}"
    elif error.code >= 0:
        lines = output.splitlines()
        status += f": {lines[-1] if lines else 'no reason given'}"
    return Outcome(status, output=output, traceback=output)


def _data_files(home: Path) -> dict[str, bytes]:
    """The files of a data set alone, without those of the trials beside them."""
    found = pack(home)
    return {name: found[name] for name in found if name.startswith(("data.", "preprocessor"))}
