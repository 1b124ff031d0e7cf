"""Keeping freed memory: the same big tensors, made and freed again, touch no new page."""

from __future__ import annotations

import resource

import pytest
import torch

from genflow import memory


def faults(work) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(memory._glibc() is None, reason="another allocator")
def test_pages_are_kept_within_and_given_back_afterwards():
    def work():
        held = [torch.ones(1 << 20) for _ in range(16)]  # 4 MB each
        del held

    pages = 16 * (4 << 20) // resource.getpagesize()
    with memory.kept_memory():
        work()
        work()
        assert faults(work) < pages / 4
    assert faults(work) > pages / 2


def test_it_may_be_nested_and_left_by_an_error():
    with pytest.raises(ZeroDivisionError), memory.kept_memory(), memory.kept_memory():
        1 / 0  # noqa: B018
    assert torch.ones(1 << 20).sum() == 1 << 20


def test_with_another_allocator_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with memory.kept_memory():
        assert torch.ones(3).sum() == 3
