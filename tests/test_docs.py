"""README.md and docs/ are true: their Python runs, their commands parse, their options and links exist."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from sybil import Document
from sybil.parsers.markdown import PythonCodeBlockParser

import genflow as gf
from genflow.cli.parsing import parse
from genflow.naming import registry
from genflow.naming.options import check_options
from genflow.testing import check_divergence, check_integrator, check_scheduler

pytestmark = pytest.mark.usefixtures("few_rows")

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CHECKS = {
    gf.Integrator: check_integrator, gf.Scheduler: check_scheduler, gf.DivergenceEstimator: check_divergence,
}  # fmt: skip
LONG = ("README", "models", "studies", "comparison")  # pages that train many models
_named = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the examples take for granted: a table of customers, the record of a comparison."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    age, income = rng.normal(40, 12, 600), np.exp(rng.normal(10, 0.4, 600))
    spend = 0.3 * income * np.exp(rng.normal(0, 0.3, 600))
    pd.DataFrame({"age": age, "income": income, "spend": spend}).to_csv("customers.csv", index=False)
    (tmp_path / "repeat.json").write_text('{"data": ["two-moons"], "models": ["nsf"]}')
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page.stem in LONG else [], id=page.name) for page in PAGES],
)
def test_python_blocks_run(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = ModuleType("my_flows")  # what a page defines is importable, as it is from a file of that name
    monkeypatch.setitem(sys.modules, "my_flows", module)
    document = Document.parse(str(page), PythonCodeBlockParser())
    document.namespace = module.__dict__
    for example in document.examples():
        example.evaluate()
    for part in vars(module).values():  # what a newcomer copies from here keeps what genflow.testing asks for
        for interface, check in CHECKS.items():
            if isinstance(part, type) and issubclass(part, interface) and part.__module__ == "my_flows":
                check(part())


@_named
def test_commands_parse(page: Path, workplace: Path) -> None:
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["genflow"]:
                continue
            _, arguments = parse(words[1:])
            models = arguments.get("models") or [m for m in [arguments.get("model")] if m]
            own = {model.rpartition(":")[2] for model in models if ":" in model}
            found = {model: registry.lookup("model", model) for model in models if ":" not in model}
            for setting in arguments.get("set") or []:
                model, dot, option = setting.partition("=")[0].rpartition(".")
                name = model if dot else models[0]
                if name not in own:
                    check_options(found[name], {option: None})


def test_option_tables_name_options_that_exist() -> None:
    sections = re.split(r"^## ", (ROOT / "docs" / "models.md").read_text(), flags=re.MULTILINE)[1:]
    checked = 0
    for section in sections:
        heading = re.match(r"`([\w-]+)`", section)
        if heading is None:
            continue
        known = inspect.signature(registry.lookup("model", heading[1])).parameters
        for cell in re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE):
            for option in re.findall(r"`(\w+)`", cell):
                assert option in known, f"{heading[1]}: {option}"
                checked += 1
    assert checked > 20


@_named
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
