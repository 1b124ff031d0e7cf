"""`genflow list`."""

from __future__ import annotations

import difflib
import re
import shutil
import textwrap
from collections.abc import Sequence

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow.cli.experiment import list_experiments
from genflow.cli.plain import plain
from genflow.errors import InputError
from genflow.naming import registry

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

    from genflow.groups import groups_of
    from genflow.naming.options import parts_behind
    from genflow.naming.search import space_of

    kind, entry = next(((k, e) for k in registry.KINDS for e in registry.entries(k) if e.name == name), ("model", None))
    if entry is None and ":" not in name and _describe_data(name):
        return
    if entry is None and ":" not in name:
        known = [e.name for k in registry.KINDS for e in registry.entries(k)]
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(f"no {name!r}; {hint}genflow list shows all names")
    found = registry.lookup("model", name) if entry is None else entry.load()
    text = inspect.getdoc(found) or ""
    print(f"{name}: {plain(text.partition(chr(10) * 2)[0])}".rstrip(": "))
    print(f"{found.__module__}:{found.__qualname__}")
    groups = groups_of(found).values()
    described = {key: words for part in (*map(inspect.getdoc, groups), text) for key, words in _texts(part).items()}
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = [p for p in inspect.signature(found).parameters.values() if p.kind not in variadic]
    parameters = [parameter for parameter in parameters if parameter.name not in _GIVEN.get(kind, ())]
    parts = parts_behind(found) if kind == "model" else {}
    if not parameters and not parts:
        return
    print(f"\n{_HOW.get(kind, 'options')}")
    for parameter in parameters:
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        _print_option(parameter.name + default, described.get(parameter.name, ""))
    for name, default in parts.items():
        _print_option(name, f"{_PARTS[name]}; by default {default}.")
    if kind == "model" and (behind := _inner_model_of(found)):
        print(f"and those of {behind}")
    if kind == "model" and (space := space_of(found)):
        print("\nwhat genflow compare --trials N tries beside them")
        for setting, values in space.items():
            print(f"  {setting:<28}  {values}")


def _print_option(name: str, text: str) -> None:
    """An option and what it does, in lines that fit a terminal."""
    head = f"  {name:<28}  "
    width = max(60, shutil.get_terminal_size().columns) - len(_MARGIN)
    body = textwrap.wrap(text, width, break_on_hyphens=False) or [""]  # names, such as rk4-simpson, are whole
    if len(head) > len(_MARGIN):  # a long default has a line of its own
        body.insert(0, "")
    print("\n".join(line.rstrip() for line in [head + body[0], *(_MARGIN + line for line in body[1:])]))


_MARGIN = " " * 32
_PARTS = {
    "velocity": "Field that is integrated",
    "scheduler": "Times to stop at",
    "integrator": "Solver",
    "divergence": "Estimator of the divergence",
    "base": "Law of the noise, which Python alone can give it",
}
_GIVEN = {
    "model": ("dim", "condition_dim"),
    "velocity": ("dim", "condition_dim"),
    "metric": ("x", "y"),
    "table metric": ("samples", "train", "test", "columns"),
}
_HOW = {
    "model": "options, each as --set OPTION=VALUE; the dimensions are those of the data",
    "divergence": "options, each as --divergence NAME,OPTION=VALUE",
    "integrator": "options, each as --integrator NAME,OPTION=VALUE",
}


def _inner_model_of(found: object) -> str:
    """The name of the model that a preset passes further options on to; empty for a class."""
    from genflow.naming.options import class_behind

    cls = class_behind(found)
    return "" if cls is None else registry.name_of(cls)


def _describe_data(name: str) -> bool:
    """A data set or an experiment; whether it is one."""
    from genflow.data import downloads, names
    from genflow.experiments import names as experiments

    found = []
    if name in names():
        found.append(f"a built-in data set, such as in: genflow fit {name} --out run")
    if name in downloads():
        found.append("a data set that is read from a folder that you fill")
    if name in experiments():
        found.append(f"an experiment of the paper: genflow experiment {name}")
    for line in found:
        print(f"{name}: {line}")
    return bool(found)


def _texts(docstring: str | None) -> dict[str, str]:
    """The explanations under `Args:` by argument."""
    _, _, after = (docstring or "").partition("Args:\n")
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
    return {name: plain(text) for name, text in found.items()}
