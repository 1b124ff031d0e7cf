"""Adams–Bashforth: the textbook weights on an even grid, exact on polynomials on any, gradients of times."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genflow import InputError
from genflow.solvers import AdamsBashforth

float64 = torch.float64
TEXTBOOK = {2: [3 / 2, -1 / 2], 3: [23 / 12, -16 / 12, 5 / 12], 4: [55 / 24, -59 / 24, 37 / 24, -9 / 24]}
every_order = pytest.mark.parametrize("order", [2, 3, 4])


@every_order
def test_weights_of_equal_steps_are_those_of_the_textbook(order):
    for weights in AdamsBashforth(order)._weights(torch.linspace(2, -1, 9, dtype=float64)):
        assert weights == pytest.approx(TEXTBOOK[order], abs=1e-9)


@every_order
@given(widths=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=8))
def test_rates_that_are_polynomials_of_time_are_integrated_exactly(order, widths):
    times = torch.tensor([0.0, *widths], dtype=float64).cumsum(0)
    solution = AdamsBashforth(order).solve(
        lambda t, y: order * t ** (order - 1) * torch.ones_like(y), torch.zeros(1, dtype=float64), times
    )
    assert solution.state.item() == pytest.approx(times[-1].item() ** order, rel=1e-9)


@every_order
def test_gradients_reach_state_and_times(order):
    times = torch.tensor([0.0, 0.2, 0.5, 0.6, 0.9, 1.0], dtype=float64, requires_grad=True)
    x = torch.randn(2, dtype=float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, times: AdamsBashforth(order).solve(lambda t, y: torch.sin(y + t), x, times).state, (x, times)
    )


def test_wrong_arguments_get_one_line():
    with pytest.raises(InputError, match="2, 3 or 4"):
        AdamsBashforth(order=5)
    with pytest.raises(InputError, match="strictly monotone"):
        AdamsBashforth().solve(lambda t, y: y, torch.ones(1), torch.tensor([0.0, 0.5, 0.5, 1.0]))
