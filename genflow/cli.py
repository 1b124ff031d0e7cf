"""The command line: compare, fit, sample, score, evaluate, experiment, list."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser
from jsonargparse import Namespace as Arguments

from genflow import registry
from genflow.errors import InputError, SolverError

__all__ = ["main"]

_DESCRIPTION = "Densities and samplers for your own data, and which method to trust with it."

_COMPARE = """Train models on data sets under one equal budget and say which differences are real.

example:
  genflow compare --data two-moons customers.csv --models jko-iflow nsf --budget 60s --out board
"""
_FIT = """Train one model and keep it in a folder.

examples:
  genflow fit customers.csv --model jko-iflow --budget 2min -o run
  genflow fit digits --model nsf --iterations 2000 --set transforms=3 -o run
  genflow fit customers.csv --condition age --model nsf -o run
"""
_SAMPLE = """Draw samples from a trained model, with the column names and in the units of its data.

examples:
  genflow sample run -n 1000 -o samples.csv
  genflow sample run -n 1000 --condition 35 -o samples.csv
"""
_SCORE = """Write the log density of each row of a file: one column log_prob, in nats, in the units of the file.

example:
  genflow score run customers.csv -o scores.csv
"""
_EVALUATE = """Figures of a trained model on test rows, by default those of the data that it was trained on.

example:
  genflow evaluate run
"""
_EXPERIMENT = """Run an experiment of the paper, its figures beside the published ones; without a name, list them.

examples:
  genflow experiment
  genflow experiment rose --out rose
  genflow experiment power --scale full --folder ~/data --out power
"""
_LIST = """List the models, parts, metrics and data sets that can be named; with a name, its options.

examples:
  genflow list
  genflow list jko-iflow
  genflow list experiments
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0, 2 for a wrong input, 1 for a failure, 130 when interrupted.

    Args:
        arguments: What follows the program's name; from `sys.argv` by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser, commands = _parsers()
    if not words:
        parser.print_help()
        return 2
    try:
        chosen = parser.parse_args(words)
        commands[chosen.subcommand](chosen[chosen.subcommand])
        sys.stdout.flush()
    except InputError as error:
        return _complain(str(error), 2)
    except ArgumentError as error:
        return _complain(_short(error, words), 2)
    except KeyboardInterrupt:
        return _complain("interrupted, nothing was written", 130, kind="")
    except BrokenPipeError:  # `genflow list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SolverError, OSError, MemoryError) as error:
        return _complain(f"{type(error).__name__}: {error}", 1)
    except RuntimeError as error:
        if type(error).__name__ != "TrainingError":
            raise
        return _complain(str(error), 1)
    return 0


def _complain(message: str, code: int, kind: str = "error: ") -> int:
    print(f"genflow: {kind}{' '.join(message.split())}", file=sys.stderr)
    return code


def _short(error: Exception, words: Sequence[str]) -> str:
    """An error of the parser in one line, with where to look."""
    text = " ".join(str(error).split())
    known = [word for word in words[:1] if word in _COMMANDS]
    return f"{text}; see genflow {' '.join([*known, '--help'])}"


_COMMANDS = ("compare", "fit", "sample", "score", "evaluate", "experiment", "list")


def _parsers() -> tuple[ArgumentParser, dict[str, Callable[[Arguments], None]]]:
    parser = _parser(_DESCRIPTION, prog="genflow")
    parser.add_argument("--version", action="version", version=f"genflow {_version()}", help="print the version")
    subcommands = parser.add_subcommands(required=True, metavar="COMMAND", title="commands")

    compare = _parser(_COMPARE)
    compare.add_argument(
        "--config", action="config", help="a file of these options, such as a comparison's repeat.json"
    )
    compare.add_argument(
        "--data", nargs="+", type=str, required=True, metavar="DATA", help="tables, pictures or built-in names"
    )
    compare.add_argument(
        "--models",
        nargs="+",
        type=str,
        default=["jko-iflow", "cnf", "flow-matching", "score-sde", "nsf"],
        metavar="MODEL",
        help="names of `genflow list`, or module:Name",
    )
    _add_budget(compare, "training of each model")
    compare.add_argument("--seed", type=int, default=0, help="seed of everything random")
    compare.add_argument(
        "--seeds", nargs="+", type=int, metavar="SEED", help="several: each training is repeated with each"
    )
    _add_options(compare, "--set", "jko-iflow.blocks=6")
    compare.add_argument(
        "--metrics",
        nargs="+",
        type=str,
        default=[],
        metavar="METRIC",
        help="further metrics, registered or module:Name",
    )
    compare.add_argument("--points", type=int, default=1000, help="samples drawn, and rows at most in their figures")
    _add_data_options(compare)
    _add_condition(compare)
    compare.add_argument("--out", type=str, metavar="DIR", help="folder for the results; it must not exist")

    fit = _parser(_FIT)
    fit.add_argument("data", type=str, metavar="DATA", help="a table, a picture or a built-in name")
    fit.add_argument("--model", type=str, default="jko-iflow", help="a name of `genflow list`, or module:Name")
    fit.add_argument("-o", "--out", type=str, required=True, metavar="RUN", help="folder for the model; must not exist")
    _add_budget(fit, "training")
    fit.add_argument("--seed", type=int, default=0, help="seed of everything random")
    fit.add_argument(
        "--recipe", type=str, metavar="NAME", help="published: JKO-iFlow by the recipe of its authors' code"
    )
    fit.add_argument(
        "--reparameterize", type=int, metavar="N", help="JKO-iFlow: rounds that move the blocks towards equal movement"
    )
    fit.add_argument("--refine", type=int, metavar="N", help="JKO-iFlow: rounds after those that double the blocks")
    fit.add_argument(
        "--compile", action="store_true", help="compile the likelihood, for jko-iflow and cnf: for very long runs only"
    )
    _add_options(fit, "--set", "blocks=6")
    _add_data_options(fit)
    _add_condition(fit)

    sample = _parser(_SAMPLE)
    _add_run(sample)
    sample.add_argument(
        "-n", "--number", type=int, metavar="N", help="how many (default: 1000), or how many for each row (default: 1)"
    )
    sample.add_argument(
        "--condition", nargs="+", type=str, default=[], metavar="VALUE", help="a value for each column of the condition"
    )
    sample.add_argument("--condition-from", type=str, metavar="FILE", help="a table with the columns of the condition")
    sample.add_argument(
        "-o", "--out", type=str, required=True, metavar="FILE", help=".csv, .parquet or .npy; must not exist"
    )
    sample.add_argument("--seed", type=int, default=0, help="seed of the samples")

    score = _parser(_SCORE)
    _add_run(score)
    score.add_argument("data", type=str, metavar="DATA", help="a table with the columns that the model was trained on")
    score.add_argument(
        "-o", "--out", type=str, required=True, metavar="FILE", help=".csv, .parquet or .npy; must not exist"
    )
    score.add_argument("--seed", type=int, default=0, help="seed of a random divergence estimator")

    evaluate = _parser(_EVALUATE)
    _add_run(evaluate)
    evaluate.add_argument("data", type=str, nargs="?", metavar="DATA", help="a table, a picture or a built-in name")
    evaluate.add_argument("--seed", type=int, default=0, help="seed of the samples")
    evaluate.add_argument("--points", type=int, default=1000, help="samples drawn, and rows at most in their figures")
    evaluate.add_argument("--json", action="store_true", help="print one JSON document")
    _add_data_options(evaluate)

    experiment = _parser(_EXPERIMENT)
    experiment.add_argument("name", type=str, nargs="?", metavar="NAME", help="an experiment, or a file of one's own")
    experiment.add_argument(
        "--scale", type=str, default="small", metavar="SCALE", help="small, minutes on a laptop, or full"
    )
    experiment.add_argument("--folder", type=str, metavar="DIR", help="where the files of a download are")
    _add_budget(experiment, "training of each model", default="the scale's")
    experiment.add_argument("--seed", type=int, default=0, help="seed of everything random")
    experiment.add_argument("--out", type=str, metavar="DIR", help="folder for the results; it must not exist")

    listing = _parser(_LIST)
    listing.add_argument("name", type=str, nargs="?", metavar="NAME", help="show the options of this one")

    for name, command, summary in (
        ("compare", compare, "models x data sets under one equal budget"),
        ("fit", fit, "train one model"),
        ("sample", sample, "draw from a trained model"),
        ("score", score, "log density of each row of a file"),
        ("evaluate", evaluate, "figures of a trained model"),
        ("experiment", experiment, "an experiment of the paper"),
        ("list", listing, "what can be named"),
    ):
        subcommands.add_subcommand(name, command, help=summary)
    commands: dict[str, Callable[[Arguments], None]] = {
        "compare": _compare,
        "fit": _fit,
        "sample": _sample,
        "score": _score,
        "evaluate": _evaluate,
        "experiment": _experiment,
        "list": _list,
    }
    return parser, commands


def _parser(description: str, **options: Any) -> ArgumentParser:
    from argparse import RawDescriptionHelpFormatter

    class Formatter(RawDescriptionHelpFormatter):
        def __init__(self, prog: str, **settings: Any):
            super().__init__(prog, max_help_position=26, **settings)

    return ArgumentParser(
        description=description.rstrip(), formatter_class=Formatter, exit_on_error=False, default_env=False, **options
    )


def _add_budget(parser: ArgumentParser, of: str, default: str = "60s") -> None:
    parser.add_argument(
        "--budget", type=str, metavar="TIME", help=f"wall time of the {of}: 30s, 2min, 1h (default: {default})"
    )
    parser.add_argument("--iterations", type=int, metavar="N", help="optimizer steps, in the place of a time")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: its own choice)")


def _add_options(parser: ArgumentParser, flag: str, example: str) -> None:
    parser.add_argument(
        flag, nargs="+", type=str, default=[], metavar="OPTION=VALUE", help=f"options of the model, such as {example}"
    )


def _add_data_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--test", type=str, metavar="FILE", help="test rows of your own, in the place of the last 10 %%"
    )
    parser.add_argument(
        "--atoms",
        type=str,
        default="keep",
        metavar="HOW",
        help="repeated values: keep, dequantize or drop (default: keep)",
    )


def _add_condition(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--condition", nargs="+", type=str, default=[], metavar="COL", help="columns that the others are conditioned on"
    )
    parser.add_argument(
        "--classes", nargs="+", type=str, default=[], metavar="COL", help="those whose numbers are names of classes"
    )


def _add_run(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, metavar="RUN", help="folder of a model that fit or compare wrote")
    parser.add_argument(
        "--trust", nargs="+", type=str, default=[], metavar="module:Name", help="classes of your own that it may import"
    )


def _version() -> str:
    from genflow import __version__

    return __version__


def _compare(chosen: Arguments) -> None:
    out = Path(chosen.out or _fresh("comparison"))
    _must_not_exist(out)
    from genflow.studies import compare

    board = compare(
        chosen.data,
        chosen.models,
        budget=chosen.budget,
        iterations=chosen.iterations,
        seed=chosen.seed,
        seeds=chosen.seeds,
        threads=chosen.threads,
        out=out,
        options=_options_by_model(chosen.set),
        metrics=chosen.metrics,
        test=chosen.test,
        atoms=chosen.atoms,
        points=chosen.points,
        condition=chosen.condition,
        classes=chosen.classes,
    )
    board.print()
    print(f"report: {out / 'report.html'}")


def _fit(chosen: Arguments) -> None:
    out = Path(chosen.out)
    _must_not_exist(out)
    name = chosen.model if chosen.recipe is None else f"{chosen.model}-{chosen.recipe}"
    if chosen.recipe is not None and name not in registry.names("model"):
        raise InputError(
            f"recipe: no {chosen.recipe!r} of {chosen.model}; --model jko-iflow --recipe published would do"
        )
    cls = registry.lookup("model", name)
    options = dict(_assignment(text) for text in chosen.set)
    options |= {n: chosen[n] for n in ("reparameterize", "refine") if chosen[n] is not None}
    if chosen.compile:
        options["compile"] = True
    import torch

    from genflow.checkpoint import write_model, written
    from genflow.data import load
    from genflow.studies.display import display_for
    from genflow.studies.options import build, check_options, check_values
    from genflow.studies.rounds import write_pictures
    from genflow.studies.trial import warm_up
    from genflow.training import parse_seconds

    if chosen.budget is not None and chosen.iterations is not None:
        raise InputError("budget, iterations: both came; give one of them")
    budget = None if chosen.budget is None else parse_seconds(chosen.budget)
    if budget is None and chosen.iterations is None:
        budget = 60.0
    check_options(cls, options)
    check_values(cls, options)
    _set_threads(chosen.threads)
    data = load(chosen.data, test=chosen.test, atoms=chosen.atoms, condition=chosen.condition, classes=chosen.classes)
    for remark in data.remarks:
        print(remark, file=sys.stderr)
    torch.manual_seed(chosen.seed)
    model = build(cls, data.dim, options, data.condition_dim)
    warm_up()
    name = registry.name_of(cls)
    trials = [{"data": data.name, "label": name, "seed": chosen.seed, "several": False}]
    with written(out) as folder:
        with display_for(trials, budget) as display:
            began = time.perf_counter()
            fitted = model.fit(
                data,
                budget=budget,
                iterations=chosen.iterations,
                seed=chosen.seed,
                progress=lambda event: display.event(0, {"what": "training", **event}),
            )
            seconds = time.perf_counter() - began
        write_model(fitted, folder)
        pictures = [path.name for path in write_pictures(fitted, data, folder)]
        record = {
            "model": name,
            "options": options,
            "data": chosen.data,
            "test": chosen.test,
            "atoms": chosen.atoms,
            "condition": chosen.condition,
            "classes": chosen.classes,
            "budget": chosen.budget,
            "iterations": chosen.iterations,
            "seed": chosen.seed,
            "threads": torch.get_num_threads(),
            "seconds": round(seconds, 1),
            "versions": {"genflow": _version(), "torch": torch.__version__, "python": sys.version.split()[0]},
        }
        (folder / "run.json").write_text(json.dumps(record, indent=1) + "\n")
    steps = sum(entry.get("steps", 0) for entry in fitted.history)
    print(f"{name} on {data.name}: {steps} steps in {seconds:.1f} s")
    if fitted.has_log_prob:
        log_p = _log_prob(fitted, data.test, None if data.condition is None else data.condition.test)
        print(f"test NLL {_mean(-log_p)} nats per row ({len(data.test)} rows, units of the data)")
    print(f"model: {out}" + "".join(f", {out / picture}" for picture in pictures))


def _sample(chosen: Arguments) -> None:
    out = _table_file(chosen.out)
    if chosen.number is not None and chosen.number < 1:
        raise InputError(f"number: {chosen.number} came; at least 1 would do")
    if chosen.condition and chosen.condition_from:
        raise InputError("condition, condition-from: both came; give one of them")
    model = _loaded(chosen)
    import numpy as np
    import torch

    given = _given(chosen, model)
    number = chosen.number or 1000
    if chosen.condition_from:
        given = np.repeat(given, chosen.number or 1, axis=0)
        number = len(given)
    with torch.no_grad():
        rows = model.sample(number, given, torch.Generator().manual_seed(chosen.seed)).double().cpu().numpy()
    columns = model.columns
    if given is not None:  # so that the file can be scored
        columns = [*columns, *model.encoding.columns]
        rows = np.concatenate([rows, np.broadcast_to(given, (number, len(model.encoding.columns)))], 1)
    _write_table(out, rows, columns)
    print(f"{number} samples: {out}")


def _given(chosen: Arguments, model: Any) -> Any:
    """The condition that a command line names, with its values checked; `None` where none is named."""
    if not (chosen.condition or chosen.condition_from):
        return None
    if model.encoding is None:
        raise InputError("condition: one came, but the model was trained without any; leave it out")
    import numpy as np

    from genflow.data import read_with_condition

    if chosen.condition_from:
        _, given = read_with_condition(chosen.condition_from, [], model.encoding)
    elif len(chosen.condition) == len(model.encoding.columns):
        given = [[text if names else _number(text) for text, names in zip(chosen.condition, model.encoding.classes)]]
    else:
        raise InputError(f"condition: {len(chosen.condition)} values came; {model.encoding.wanted} would do")
    model.encoding(given, (len(given),))
    return np.asarray(given, dtype=object if model.encoding.class_columns else float)


def _condition_of(model: Any) -> dict[str, Any]:
    """The condition that a model was trained under, as `genflow.data.load` takes it."""
    if model.encoding is None:
        return {}
    return {"condition": model.encoding.columns, "classes": model.encoding.class_columns}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _score(chosen: Arguments) -> None:
    out = _table_file(chosen.out)
    model = _loaded(chosen)
    import torch

    from genflow.data import load, names, read, read_with_condition

    given = None
    if chosen.data in names() and not Path(chosen.data).exists():
        data = load(chosen.data, **_condition_of(model))
        rows, given = data.test, data.condition and data.condition.test
        print(f"{chosen.data} is built in: its test rows are scored", file=sys.stderr)
    elif model.encoding is not None:
        array, given = read_with_condition(chosen.data, model.columns, model.encoding)
        rows = torch.as_tensor(array, dtype=torch.float64)
    else:
        array, _ = read(chosen.data, columns=model.columns)
        rows = torch.as_tensor(array, dtype=torch.float64)
    log_p = _log_prob(model, rows, given, chosen.seed)
    _write_table(out, log_p.double().cpu().numpy()[:, None], ["log_prob"])
    print(f"mean log density {_mean(log_p)} nats per row, {len(rows)} rows: {out}")


def _evaluate(chosen: Arguments) -> None:
    model = _loaded(chosen)
    from genflow.data import load
    from genflow.studies.evaluation import evaluate, reference

    record = Path(chosen.run) / "run.json"
    source, test, atoms = chosen.data, chosen.test, chosen.atoms
    if source is None:
        if not record.is_file():
            raise InputError(f"data: {chosen.run} does not say what it was trained on; name the data set")
        kept = json.loads(record.read_text())
        source, test, atoms = kept["data"], test or kept["test"], kept["atoms"]
    data = load(source, test=test, atoms=atoms, **_condition_of(model))
    if data.dim != model.dim:
        raise InputError(f"data: {data.name} has {data.dim} columns, the model was trained on {model.dim}")
    known = reference(data, points=chosen.points)
    found = evaluate(model, data, seed=chosen.seed, points=chosen.points)
    figures = {**found.figures, **known}
    if chosen.json:
        clean = {name: value if value == value else None for name, value in figures.items()}
        print(json.dumps({"data": data.name, "remarks": found.remarks, **clean}))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{data.name}: {len(data.test)} test rows", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("meaning")
    for name, meaning in _MEANINGS.items():
        value = figures.get(name, float("nan"))
        if value == value:
            table.add_row(name, f"{value:,.0f}" if name in ("nfe", "parameters") else f"{value:.4g}", meaning)
    console = Console()
    console.print(table)
    for remark in [*found.remarks, *data.remarks]:
        console.print(remark, highlight=False, markup=False)


_MEANINGS = {
    "nll": "mean negative log-likelihood, nats per row, units of the data",
    "nll_se": "its standard error",
    "nll_standardized": "the same in standardized units",
    "nll_true": "what the true density has on the same rows",
    "w2": "Wasserstein-2 distance of samples and test rows, standardized units",
    "w2_floor": "the same of training and test rows",
    "mmd": "squared maximum mean discrepancy, standardized units",
    "mmd_threshold": "below it with 95 % probability if the laws are equal",
    "c2st": "accuracy of a classifier between samples and test rows; 0.5 is the best",
    "inversion_error": "mean squared error of decode(encode(x)), standardized units",
    "nfe": "evaluations of the velocity from x to z",
    "sample_seconds": "wall seconds for the samples",
    "parameters": "trained numbers",
}


def _experiment(chosen: Arguments) -> None:
    if chosen.name is None:
        _list_experiments()
        return
    from rich.console import Console

    from genflow.experiments import run
    from genflow.experiments.figures import table

    out = Path(chosen.out or _fresh(Path(chosen.name).stem))
    board = run(
        chosen.name,
        scale=chosen.scale,
        folder=chosen.folder,
        budget=chosen.budget,
        iterations=chosen.iterations,
        seed=chosen.seed,
        threads=chosen.threads,
        out=out,
    )
    board.print()
    about = board.config["experiment"]
    console = Console()
    console.print(table(about["table"], f"{about['name']}: the paper's figures and those of this run"))
    for remark in about["remarks"]:
        console.print(f"  {remark}", style="dim", highlight=False, markup=False)
    print(f"report: {out / 'report.html'}")


def _list_experiments() -> None:
    from genflow.experiments import names, read

    for name in names():
        print(f"  {name:<22}{read(name).title}")


def _list(chosen: Arguments) -> None:
    if chosen.name == "experiments":
        _list_experiments()
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


def _options_by_model(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`jko-iflow.blocks=6` as `{"jko-iflow": {"blocks": 6}}`."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, value = _assignment(text)
        model, dot, option = key.rpartition(".")
        if not dot:
            raise InputError(f"set: {text!r} came; MODEL.OPTION=VALUE, such as jko-iflow.blocks=6, would do")
        found.setdefault(model, {})[option] = value
    return found


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"set: {text!r} came; OPTION=VALUE, such as blocks=6, would do")
    try:
        return key, json.loads(value)
    except ValueError:
        named = {"True": True, "False": False, "None": None}
        return key, named.get(value, value)


def _fresh(name: str) -> str:
    """A name that no file has yet: comparison, comparison-2, …"""
    count, candidate = 1, name
    while Path(candidate).exists():
        count += 1
        candidate = f"{name}-{count}"
    return candidate


def _must_not_exist(path: Path) -> None:
    if path.exists():
        raise InputError(f"out: {path} exists already; name one that does not, or remove it")


def _loaded(chosen: Arguments) -> Any:
    from genflow.checkpoint import load

    model = load(chosen.run, trust=chosen.trust)
    if not hasattr(model, "columns"):
        raise InputError(
            f"{chosen.run}: a {type(model).__name__} came, without its data's units; use one that fit wrote"
        )
    return model


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise InputError(f"threads: {threads} came; at least 1 would do")
    import torch

    torch.set_num_threads(threads)


def _log_prob(model: Any, rows: Any, condition: Any, seed: int = 0) -> Any:
    import torch

    with torch.no_grad():
        return model.log_prob(rows, condition, torch.Generator().manual_seed(seed))


def _mean(values: Any) -> str:
    from genflow.metrics import mean_and_se

    mean, se = mean_and_se(values)
    return f"{mean:.4f} ± {se:.4f}"


_WRITERS: dict[str, Callable[[Any, Path], None]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False),
    ".npy": lambda frame, path: __import__("numpy").save(path, frame.to_numpy()),
}


def _table_file(name: str) -> Path:
    path = Path(name)
    if path.suffix not in _WRITERS:
        raise InputError(f"out: {name} came; a name that ends in {', '.join(_WRITERS)} would do")
    _must_not_exist(path)
    if not path.parent.is_dir():
        raise InputError(f"out: {path.parent} is no folder; make it first")
    return path


def _write_table(path: Path, rows: Any, columns: Sequence[str]) -> None:
    import pandas as pd

    if path.suffix == ".npy" and rows.dtype == object:
        raise InputError(f"out: {path} came, which holds numbers only; a name that ends in .csv or .parquet would do")
    with _appearing(path) as part:
        _WRITERS[path.suffix](pd.DataFrame(rows, columns=list(columns)).infer_objects(), part)


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A file that appears when it is complete."""
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield part
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
