"""`genflow list`."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow import registry
from genflow.cli.experiment import list_experiments

__all__ = ["DESCRIPTION", "NEEDED", "SUMMARY", "USAGE", "add_arguments", "run"]

SUMMARY = "what can be named"
USAGE = "genflow list [NAME]"
NEEDED = ()
DESCRIPTION = """List the models, parts, metrics and data sets that can be named; with a name, its options.

examples:
  genflow list
  genflow list jko-iflow
  genflow list experiments
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Says what the command takes."""
    parser.add_argument("name", type=str, nargs="?", metavar="NAME", help="show the options of this one")


def run(chosen: Arguments) -> None:
    """Runs the command."""
    if chosen.name == "experiments":
        list_experiments()
        return
    if chosen.name is not None:
        _describe(chosen.name)
        return
    plural = {"velocity": "velocities"}
    for kind in registry.KINDS:
        print(plural.get(kind, f"{kind}s"))
        for entry in registry.entries(kind):
            origin = "" if entry.source == "genflow" else f"from {entry.source}: {entry.target}"
            print(f"  {entry.name:<22}{entry.summary or origin}".rstrip())
        print()
    from genflow.data import downloads, names
    from genflow.experiments import names as experiments

    for title, listed in (
        ("data sets", names()),
        ("data sets from a folder that you fill: see genflow experiment", downloads()),
        ("experiments", experiments()),
    ):
        print(title)
        _print_names(listed)
    print("or a path to a table (CSV, Parquet, NPY, text) or a picture; your own parts as module:Name")


def _print_names(names: Sequence[str]) -> None:
    """Names side by side, in lines that fit a terminal."""
    width = 2
    for name in names:
        width += len(name) + 2
        if width > 78:
            print()
            width = 4 + len(name)
        print(f"  {name}", end="")
    print("\n")


def _describe(name: str) -> None:
    """One name: what it is, where it lives, its options with their defaults."""
    import inspect

    entry = next((e for kind in registry.KINDS for e in registry.entries(kind) if e.name == name), None)
    found = registry.lookup("model", name) if entry is None else entry.load()
    text = inspect.getdoc(found) or ""
    print(f"{name}: {text.splitlines()[0] if text else ''}")
    print(f"{found.__module__}:{found.__qualname__}\n")
    described = _argument_texts(text)
    for parameter in inspect.signature(found).parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        print(f"  {parameter.name + default:<30} {described.get(parameter.name, '')}".rstrip())


def _argument_texts(docstring: str) -> dict[str, str]:
    """The explanations under `Args:` by argument."""
    import re

    _, _, after = docstring.partition("Args:\n")
    found: dict[str, str] = {}
    last = ""
    for line in after.splitlines():
        if not line.strip() or not line.startswith("    "):
            break
        match = re.match(r"    (\w+): (.*)", line)
        if match:
            last = match[1]
            found[last] = match[2]
        elif last:
            found[last] += " " + line.strip()
    return {name: re.sub(r":math:`([^`]*)`", r"\1", text).replace("`", "") for name, text in found.items()}
