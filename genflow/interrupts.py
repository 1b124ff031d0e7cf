"""What an end before the end leaves behind: said with the interrupt, and the same for every way of being stopped."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["end_on_interrupt", "interrupt_on_signals", "keeping", "note_of"]


@contextmanager
def keeping(what: str) -> Iterator[None]:
    """Whatever ends the block tells what there is all the same.

    Args:
        what: A few words, such as "the model is in run".

    Example:
        >>> from genflow.interrupts import keeping, note_of
        >>> try:
        ...     with keeping("the model is in run"):
        ...         raise KeyboardInterrupt
        ... except KeyboardInterrupt as interrupt:
        ...     note_of(interrupt)
        'the model is in run'
    """
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise


def note_of(error: BaseException) -> str:
    """What an error or an interrupt was told to say of what there is; empty if nothing."""
    return "; ".join(dict.fromkeys(vars(error).get("__notes__", ())))


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """A terminal that is closed, and a system that asks to end, interrupt as Ctrl-C does: what is done is kept.

    What a program has arranged for these signals itself stays as it is.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    changed = []
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = signal.Signals.__members__.get(name)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, interrupt)
                changed.append(number)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def end_on_interrupt(message: str, code: int) -> Iterator[None]:
    """Ctrl-C ends the process at once, while there is nothing to keep.

    So for imports: an exception that comes up within a library's C++ is an abort.

    Args:
        message: The last words.
        code: The exit code.
    """

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, f"{message}\n".encode())
        os._exit(code)

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
