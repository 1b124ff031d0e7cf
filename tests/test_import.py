"""What `import genflow` costs, and what it leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys

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


def test_every_public_name_is_there():
    found = fresh(
        "import json, genflow as gf\n"
        "missing = [name for name in gf.__all__ if getattr(gf, name, None) is None]\n"
        "print(json.dumps([missing, sorted(set(gf.__all__) - set(dir(gf)))]))"
    )
    assert found == [[], []]
