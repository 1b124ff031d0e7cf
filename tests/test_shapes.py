"""The tests' own look at shapes: each form once, and none of them never."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from tests.shapes import _checked


def halves(x: Float[Tensor, "n d"], count: int = 1, wrong: list[int] | None = None) -> Float[Tensor, "n d"]:
    """Right, but for what `wrong` says."""
    if wrong and wrong.pop():
        return x[:, :1]
    return x / 2**count


def test_arguments_of_another_shape_or_kind_are_found_after_right_ones():
    checked = _checked(halves)
    x = torch.ones(3, 2)
    for _ in range(3):
        assert torch.equal(checked(x), x / 2)
    for wrong in (x[0], x.long(), [1.0]):
        with pytest.raises(TypeCheckError, match="halves"):
            checked(wrong)
    with pytest.raises(TypeCheckError, match="halves"):
        checked(x, count="two")


@pytest.mark.parametrize("length", [1, 20])  # a list that is looked into, and one that is long
def test_a_result_of_another_shape_is_found_though_the_arguments_have_passed(length):
    checked = _checked(halves)
    x = torch.ones(3, 2)
    assert torch.equal(checked(x, wrong=[0] * length), x / 2)
    for _ in range(2):
        with pytest.raises(TypeCheckError, match="halves"):
            checked(x, wrong=[0] * (length - 1) + [1])
    if length > 1:
        return
    # The same form of arguments, and another of the result.
    answers = [x, x, x[:, :1], x]
    named = _checked(answering(answers))
    named(x)
    named(x)
    with pytest.raises(TypeCheckError):
        named(x)
    named(x)


def answering(answers: list[Tensor]):
    def answer(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return answers.pop(0)

    return answer
