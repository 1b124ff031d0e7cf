"""Tests and doctests: each begins with its own seed, and shapes in signatures are checked (jaxtyping and beartype)."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path

# Workers of pytest-xdist share the cores: one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.shapes import check_shapes

# Before anything else is imported that could hold on to a function.
check_shapes(f"genflow.{name}" for name in ("interfaces", "velocities", "divergences", "schedulers", "solvers", "flow"))

settings.register_profile(
    "genflow",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("genflow")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed-offset",
        type=int,
        default=0,
        metavar="N",
        help="add N to the seeds of initial weights, batches and probes: what training finds must hold for any of them",
    )
    parser.addoption(
        "--last-bit",
        type=int,
        metavar="N",
        help="round as machine N does, of those that nobody has; see tests/last_bit.py",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in its background with interrupts ignored, and every process from there inherits that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    offset = config.getoption("--seed-offset")
    if offset:
        from genflow.training import sequence

        # All that a training draws comes from torch's global generator (initial weights) or, by `_mix`, from the seed
        # that it was given. Shifted here, two runs of one seed stay alike, and those of two seeds stay apart.
        seeded, mixed = torch.manual_seed, sequence._mix
        torch.manual_seed = lambda seed: seeded(seed + offset)
        sequence._mix = lambda seed, count: mixed(seed + offset, count)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before fixtures of any scope: what a test draws doesn't depend on the tests before it."""
    torch.manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    machine = item.config.getoption("--last-bit")
    if machine is None:
        return (yield)
    from tests.last_bit import LastBit

    with LastBit(machine):
        return (yield)


@pytest.fixture(scope="module")
def few_rows() -> Generator[None]:
    """Built-in data of 2000 rows, not of 20 000: where a test asks what is said and written, not what is learned.

    For a whole file: `pytestmark = pytest.mark.usefixtures("few_rows")`. Processes of their own don't know of it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genflow.data.loading._ROWS", 2000)
        yield


@pytest.fixture(scope="module")
def no_pictures() -> Generator[None]:
    """Comparisons without their pictures, which take most of their time: where a test doesn't look at them."""
    from genflow.studies.reporting.gallery import Gallery

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genflow.studies.comparison.board.hang", lambda plots: Gallery({}))
        yield


@pytest.fixture
def shared_tables() -> Path:
    """The folder of real tables, where there is one."""
    folder = Path(__file__).parent.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared tables are not here")
    return folder
