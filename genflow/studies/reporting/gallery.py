"""Pictures drawn: for a page, for a file, for a paper; one that fails is a line, and takes nothing else along."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genflow.storage import atomic
from genflow.studies.reporting.drawing import compose, house_style, not_drawn, png
from genflow.studies.reporting.plot import Plot
from genflow.studies.reporting.svg import Drawn, drawn

__all__ = ["Gallery", "Hung", "hang"]

_AS_LAID_OUT = {"savefig.bbox": None}  # all is inside of the figure; a search for its edges is a drawing more


@dataclass(frozen=True)
class Hung:
    """A picture that was drawn.

    Attributes:
        plot: What it is.
        drawn: Its panels, for a page.
        png: The bytes of a PNG file.
        figure: The figure of that file.
    """

    plot: Plot
    drawn: Drawn
    png: bytes
    figure: Any


@dataclass(frozen=True)
class Gallery:
    """Pictures that were drawn, and a line for each that could not be.

    Attributes:
        pictures: The pictures, by the names of their plots.
        failures: The lines.
    """

    pictures: dict[str, Hung]
    failures: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Writes every picture as a PNG file, and all of them as the pages of `figures.pdf`, for a paper.

        Args:
            folder: The folder; it is made where it is not there.
        """
        folder.mkdir(exist_ok=True)
        for name, hung in self.pictures.items():
            atomic.write(folder / f"{name}.png", hung.png)
        if self.pictures:
            atomic.write(folder / "figures.pdf", self._pages())

    def _pages(self) -> bytes:
        """One file for all: its letters are in it once, where a file for each would take as long as all the drawing."""
        from matplotlib.backends.backend_pdf import PdfPages

        written = io.BytesIO()
        with house_style(**_AS_LAID_OUT), PdfPages(written, metadata={"CreationDate": None}) as pages:
            for hung in self.pictures.values():
                pages.savefig(hung.figure)
        return written.getvalue()


def hang(plots: Iterable[Plot]) -> Gallery:
    """Draws pictures."""
    pictures, failures = {}, []
    for plot in plots:
        try:
            picture = plot.draw()
            with house_style(**_AS_LAID_OUT):
                figure = compose(picture)
                figure.get_layout_engine().execute(figure)
                figure.set_layout_engine("none")  # with one, every file would be drawn twice
                file = png(figure)
            pictures[plot.name] = Hung(plot, drawn(picture, plot.name), file, figure)
        except Exception as error:
            failures.append(not_drawn(plot.name, error))
    return Gallery(pictures, tuple(failures))
