"""What `import genflow` costs, and what it leaves alone."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "pandas", "sklearn", "ot", "matplotlib", "torchdiffeq", "torchsde", "zuko", "rich", "jinja2", "jsonargparse",
    "pyarrow", "scipy",
)  # fmt: skip


def fresh(code: str):
    """What the code prints as JSON, run in a new interpreter."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return json.loads(result.stdout)


def test_import_loads_nothing_heavy_and_sets_nothing():
    found = fresh(
        "import json, sys, torch\n"
        "state = lambda: (torch.get_num_threads(), torch.get_rng_state().tolist(), str(torch.get_default_dtype()))\n"
        "modules, before = set(sys.modules), state()\n"
        "called = []\n"
        "torch.set_num_threads = lambda n: called.append(n)\n"
        "import genflow\n"
        f"heavy = [name for name in {HEAVY!r} if name in set(sys.modules) - modules]\n"
        "print(json.dumps([heavy, before == state(), called]))"
    )
    assert found == [[], True, []]


def test_a_model_is_built_and_evaluated_without_them():
    found = fresh(
        "import json, sys, torch\nbefore = set(sys.modules)\nimport genflow as gf\n"
        "gf.models.JKOiFlow(2), gf.models.FlowMatching(2)\n"
        "gf.Flow(gf.velocities.Shallow(2)).log_prob(torch.zeros(1, 2))\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in set(sys.modules) - before]))"
    )
    assert found == []


@pytest.mark.slow
def test_every_public_name_is_there():
    found = fresh(
        "import json, genflow as gf\n"
        "missing = [name for name in gf.__all__ if getattr(gf, name, None) is None]\n"
        "print(json.dumps([missing, sorted(set(gf.__all__) - set(dir(gf)))]))"
    )
    assert found == [[], []]


EXTRAS = (
    "pandas",
    "sklearn",
    "pyarrow",
    "PIL",
    "ot",
    "matplotlib",
    "jinja2",
    "zuko",
    "torchsde",
    "jsonargparse",
    "yaml",
    "rich",
    "cloudpickle",
)


@pytest.mark.slow
def test_the_light_core_trains_and_uses_every_continuous_model():
    found = fresh(
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"  # None: as if it were not installed
        "import json, tempfile, warnings, torch, genflow as gf\n"
        "from genflow.training import Budget, TrainingData, train\n"
        "warnings.simplefilter('ignore')\n"
        "x, found = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)), []\n"
        "flow = gf.Flow(gf.velocities.Shallow(2), integrator=gf.solvers.Adaptive())\n"
        "found.append(tuple(flow.log_prob(x[:3]).shape))\n"
        "for kind in (gf.models.JKOiFlow, gf.models.CNF, gf.models.FlowMatching, gf.baselines.ScoreSDE):\n"
        "    model = kind(2)\n"
        "    train(model, TrainingData(x[:150], x[150:]), Budget(iterations=2))\n"
        "    found.append(tuple(model.log_prob(x[:3]).shape))\n"
        "fitted = gf.models.FlowMatching(2).fit(x.numpy(), iterations=2)\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    fitted.save(folder + '/run')\n"
        "    found.append(tuple(gf.load(folder + '/run').sample(3).shape))\n"
        "print(json.dumps(found))"
    )
    assert found == [[3]] * 5 + [[3, 2]]


WANTED = {
    "gf.data.load('digits')": "data",
    "gf.DensityEstimator()": "data",
    "gf.baselines.NSF(2)": "baselines",
    "gf.metrics.wasserstein2(x, x)": "transport",
    "gf.compare('two-moons', ['cnf'], iterations=1)": "studies",
    "gf.studies.solvers(gf.Flow(gf.velocities.Shallow(2)), ['euler'])": "studies",
    "gf.solvers.SRK().solve(gf.Dynamics(lambda t, x: x, diffusion=lambda t, x: x), x, torch.ones(2).cumsum(0))": "sde",
}


@pytest.fixture(scope="module")
def without_extras():
    """What each line ends in where no extra is installed: whether it is an error of the input, and its words."""
    return fresh(
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"
        "import json, torch, genflow as gf\n"
        "x, found = torch.zeros(30, 2), {}\n"
        f"for code in {list(WANTED)!r}:\n"
        "    try:\n        exec(code)\n"
        "    except ImportError as error:\n        found[code] = [isinstance(error, gf.InputError), str(error)]\n"
        "print(json.dumps(found))"
    )


@pytest.mark.parametrize(("code", "extra"), WANTED.items())
def test_what_is_missing_is_one_line_that_names_the_extra(without_extras, code, extra):
    ours, words = without_extras[code]
    assert ours
    assert words.endswith(f"is not installed; pip install 'genflow[{extra}]' would do")


def test_the_command_line_without_its_extra_is_one_line():
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({EXTRAS!r}))\n"
        "from genflow.cli import main\nsys.exit(main(['list']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert result.stderr == "genflow: error: jsonargparse is not installed; pip install 'genflow[cli]' would do\n"


@pytest.mark.parametrize(
    "script", sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py")), ids=lambda p: p.stem
)
def test_a_benchmark_finds_what_it_names(script, monkeypatch):
    monkeypatch.syspath_prepend(script.parent)
    try:
        assert callable(runpy.run_path(str(script), run_name="imported").get("main", print))
    except ModuleNotFoundError as error:
        if str(error.name).startswith("genflow"):
            raise
        pytest.skip(f"{error.name} is not installed")
