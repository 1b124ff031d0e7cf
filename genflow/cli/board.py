"""`genflow board`."""

from __future__ import annotations

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.words import console, note

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "the leaderboard of a comparison, from what is done so far"
USAGE = "genflow board DIR"
NEEDED = ("folder",)
DESCRIPTION = """Draw the board of a comparison anew: while it is under way, after a kill, or years later.

examples:
  genflow board comparison
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    parser.add_argument(
        "folder", type=str, nargs="?", metavar="DIR", help="folder that genflow compare --out wrote, or writes"
    )


def run(chosen: Arguments) -> None:
    """Runs the command."""
    from genflow.studies import Board

    board = Board(chosen.folder)
    notes = board.redraw()
    board.print(console())
    for line in notes:
        note(line)
    if (board.folder / "report.html").exists():
        print(f"report: {board.folder / 'report.html'}")
