"""Memory that goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from genflow.numerics import memory

FRESH = """
import torch
from genflow.numerics import memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

with memory.own_pages():
    before = resident()
    large, small = [], []
    for _ in range(200):  # 1 MB each, with a small one that lives on behind it
        large.append(torch.ones(1 << 18))
        small.append(torch.ones(8))
    held = resident()
    large.clear()
    assert len(small) == 200
    print(held - before, resident() - before)
"""


@pytest.mark.skipif(memory._glibc() is None, reason="another C library")
def test_freed_tensors_leave_no_holes():
    """In an interpreter of its own: where the heap has holes already, large tensors come to lie in them."""
    run = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    held, left = map(float, run.stdout.split())
    assert held > 150
    assert left < 20
