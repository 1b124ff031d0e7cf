"""What pictures and reports need, tried before work is done that would wait for them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from genflow.errors import InputError
from genflow.extras import require
from genflow.studies.reporting import drawing, html

__all__ = ["check"]


def check(names: Iterable[Any] = ()) -> None:
    """Tries what pictures and reports need, before work is done that would wait for them.

    Args:
        names: Texts that will stand in the pictures.

    Raises:
        InputError: Something is missing or can't work here.
    """
    require("studies")
    try:
        html.template("report.html")
        html.template("study.html")
        with drawing.house_style():
            figure, axis = drawing.subplots(figsize=(1, 1))
            for name in islice(names, 100):
                axis.text(0, 0, drawing.plain(name), fontsize=2)
            drawing.png(figure)
    except Exception as error:  # a broken installation fails in any way
        raise InputError(
            f"report: pictures and reports can't be made here ({type(error).__name__}: {drawing.plain(error, 200)}); "
            "install matplotlib and jinja2 anew"
        ) from error
