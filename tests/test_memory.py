"""Memory that goes back to the system."""

from __future__ import annotations

import pytest
import torch

from genflow import memory


def resident() -> float:
    """What the process holds, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(memory._glibc() is None, reason="another C library")
def test_freed_tensors_leave_no_holes():
    with memory.own_pages():
        before = resident()
        large, small = [], []
        for _ in range(200):  # 1 MB each, with a small one that lives on behind it
            large.append(torch.ones(1 << 18))
            small.append(torch.ones(8))
        assert resident() > before + 150
        large.clear()
        assert resident() < before + 20
    assert len(small) == 200
