"""Shapes in the signatures are checked in every test: jaxtyping's annotations, enforced by beartype."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Workers of pytest-xdist share the cores: one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

_CHECKED = [f"genflow.{name}" for name in ("interfaces", "velocities", "divergences", "schedulers", "solvers", "flow")]
with install_import_hook(_CHECKED, "beartype.beartype"):
    import genflow.divergences
    import genflow.flow
    import genflow.schedulers
    import genflow.solvers
    import genflow.velocities  # noqa: F401

settings.register_profile(
    "genflow",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("genflow")


@pytest.fixture
def shared_tables() -> Path:
    """The folder of real tables, where there is one."""
    folder = Path(__file__).parent.parent.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared tables are not here")
    return folder
