"""Progress in a notebook: a bar below the cell, drawn by the page itself and gone when the work is done."""

from __future__ import annotations

import html
import sys
import time
from typing import Any

__all__ = ["Bar", "in_notebook"]

_EVERY = 0.25  # seconds between two drawings


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this; it has imported IPython, which nothing else here needs."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


class Bar:
    """A bar with a line of text, which moves where it stands."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._last = 0.0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._handle is not None:
            self._handle.update(_Page(""))

    def show(self, fraction: float, text: str) -> None:
        """Draws it, at most a few times a second.

        Args:
            fraction: How far the work is, from 0 to 1.
            text: What is being done, and what is left.
        """
        now = time.monotonic()
        if self._handle is not None and now - self._last < _EVERY:
            return
        self._last = now
        page = _Page(
            f'<div style="font-size: 13px"><progress max="1" value="{min(1.0, max(0.0, fraction)):.4f}" '
            f'style="width: 14em; vertical-align: middle"></progress> {html.escape(text)}</div>'
        )
        if self._handle is None:
            from IPython.display import display

            self._handle = display(page, display_id=True)
        else:
            self._handle.update(page)


class _Page:
    """A piece of HTML, as a notebook asks for it."""

    def __init__(self, text: str):
        self.text = text

    def _repr_html_(self) -> str:
        return self.text
