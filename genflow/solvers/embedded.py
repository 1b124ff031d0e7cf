r"""Adaptive Runge–Kutta methods: an embedded pair estimates the error of each step, and a controller sizes the next.

.. math::
    E = \Bigl\| \frac{e_i}{atol + rtol \, \max(|y_i|, |y_i'|)} \Bigr\| \le 1, \qquad
    h \leftarrow h \cdot 0.9 \, E_n^{-0.7 / k} \, E_{n-1}^{0.4 / k}

A step is accepted where its estimated error :math:`E`, in units of the tolerance, is at most 1; :math:`k` is the power
of :math:`h` with which :math:`E` falls. The dependence on the error of the step before makes the sizes smooth (a
proportional-integral controller).

With `per_row=True` every row has a time, a step size and an error of its own. The network still sees all rows at once,
each at its own time; what a row gets does not depend on its neighbours, up to the rounding of products of a batch.

| Hairer, Nørsett, Wanner, Solving Ordinary Differential Equations I, II.4, https://doi.org/10.1007/978-3-540-78862-1
| Hairer, Wanner, Solving Ordinary Differential Equations II, IV.2, https://doi.org/10.1007/978-3-642-05221-7
| Söderlind 2003, Digital filters in adaptive time-stepping, https://doi.org/10.1145/641876.641877
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.errors import InputError, SolverError
from genflow.interfaces import Dynamics, Integrator, Solution, State
from genflow.numerics.recomputation import recompute
from genflow.solvers import tableaus
from genflow.solvers.fixed import stages
from genflow.solvers.gradients import check_gradient, solved_by_adjoint
from genflow.solvers.states import combine, detach, grid_of, move, parts_of, stack
from genflow.solvers.tableaus import Tableau

__all__ = ["DOP853", "BogackiShampine", "DormandPrince", "Embedded", "Tsitouras"]


class Embedded(Integrator):
    r"""An embedded Runge–Kutta pair with steps of its own choice; see the formulas above.

    Args:
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        per_row: Whether each row has its own steps, so that its result does not depend on the other rows. It costs as
            many evaluations as the row that needs most. The velocity must take one time for each row.
        norm: `max`, which controls the error of every number, or `rms`, the root of the mean square over a row (over
            the whole batch, if the rows share their steps).
        max_evaluations: Most evaluations in one solve, and in one adjoint solve.
        gradient: `backprop`, `checkpoint` or `adjoint`; see `genflow.solvers.gradients`. The sizes of the steps count
            as constants, and times get no gradient.

    Attributes:
        tableau: The coefficients of the pair.

    Raises:
        InputError: A tolerance that is not positive; an unknown norm or gradient.
    """

    tableau: Tableau
    carries_density = True

    def __init__(
        self,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        per_row: bool = False,
        norm: str = "max",
        max_evaluations: int = 10_000,
        gradient: str = "backprop",
    ):
        if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
            raise InputError(f"rtol, atol: {rtol}, {atol} came; numbers such as 1e-5 would do")
        if norm not in ("max", "rms"):
            raise InputError(f"norm: {norm!r} came; max or rms would do")
        if max_evaluations < 1:
            raise InputError(f"max_evaluations: {max_evaluations} came; at least 1 would do")
        self.rtol, self.atol, self.per_row, self.norm = rtol, atol, per_row, norm
        self.max_evaluations = max_evaluations
        self.gradient = check_gradient(gradient, type(self).__name__)

    def solve(
        self,
        dynamics: Callable[[Tensor, State], State],
        state: State,
        times: Float[Tensor, " times"],
        *,
        generator: torch.Generator | None = None,
        save: Literal["last", "all"] = "last",
    ) -> Solution:
        """Integrates from `times[0]` to `times[-1]`; never evaluates outside of them.

        It stops at the times between only where their states are to be saved. `steps` and `rejected` of the solution
        are those of the row that needed most.

        Raises:
            InputError: Times that are not strictly monotone; rows that can't be told apart.
            SolverError: With time, step and the state that was reached: the step falls below the resolution of the
                times, the evaluations are used up, or the velocity or the state is not finite.
        """
        dynamics, steps = Dynamics.of(dynamics), grid_of(times.detach())
        if not any(steps):
            return Solution(state, states=stack([state] * len(times)) if save == "all" else None)
        if not all(steps):
            raise InputError("times: two of them are the same; they must be strictly monotone")
        if self.gradient == "adjoint" and torch.is_grad_enabled():
            return solved_by_adjoint(self._solve, dynamics, state, times, save)
        return self._solve(dynamics, state, times, save)

    def _solve(self, dynamics: Any, state: State, times: Tensor, save: Literal["last", "all"] = "last") -> Solution:
        walk = _Walk(self, dynamics, state, times.detach())
        kept = [state]
        for stop in times[1:].tolist() if save == "all" else [times[-1].item()]:
            walk.to(stop)
            kept.append(walk.y)
        return Solution(
            walk.y,
            states=stack(kept) if save == "all" else None,
            nfe=walk.evaluations,
            steps=int(walk.accepted.max()) if walk.accepted.numel() else 0,
            rejected=int(walk.rejected.max()) if walk.rejected.numel() else 0,
        )


class _Walk:
    """One solve on its way. All rows are one where they share their steps: numbers of a row then have no axes.

    Attributes:
        t: Time of each row.
        y: State.
        k: Rate there, the first stage of the next step.
        size: Size of the next step of each row, positive.
    """

    def __init__(self, solver: Embedded, dynamics: Any, state: State, times: Tensor):
        self.solver, self.dynamics, self.tableau = solver, dynamics, solver.tableau
        self.y: Any = state
        self.batch = _rows_of(dynamics, state) if solver.per_row else torch.Size()
        self.controlled = dynamics.controlled
        self.power = self.tableau.error_order + 1
        self.start, self.stop = times[0].item(), times[-1].item()
        self.direction = 1.0 if self.stop > self.start else -1.0
        self.resolution = torch.finfo(times.dtype).eps
        self.least = self.resolution * max(abs(self.start), abs(self.stop))
        self.evaluations = 0
        self.t = times[0].expand(self.batch).clone()
        self.accepted = torch.zeros(self.batch, dtype=torch.long, device=times.device)
        self.rejected = torch.zeros_like(self.accepted)
        self.before = torch.ones_like(self.t)  # the error of the step before
        self.held = torch.zeros(self.batch, dtype=torch.bool, device=times.device)  # behind a rejected step
        self.size = torch.zeros_like(self.t)
        self._check(self._rows(self.y, _largest), "the state")
        self.k = self.f(self.t, self.y)
        self._check(self._rows(self.k, _largest), "the velocity")
        with torch.no_grad():
            self.size = self._first_size()

    def f(self, t: Tensor, y: Any) -> Any:
        self.evaluations += 1
        return self.dynamics(t, y)

    def to(self, stop: float) -> None:
        """Takes all rows to a time."""
        while True:
            left = (stop - self.t).abs()
            active = left > 0
            if not active.any():
                return
            if self.evaluations + len(self.tableau.rows) - 1 > self.solver.max_evaluations:
                self._fail(
                    f"{self.solver.max_evaluations} evaluations were not enough",
                    active,
                    self._advice("a looser tolerance or a larger max_evaluations"),
                )
            last = self.size >= left
            if (active & ~last & (self.size < self.least)).any():
                name = str(self.t.dtype).removeprefix("torch.")
                reason = f"the step {self.size[active].min().item():.3g} fell below the resolution of {name}"
                self._fail(reason, active & (self.size < self.least), self._advice("a looser tolerance"))
            h = self.direction * torch.where(last, left, self.size)
            t_next = torch.where(last, torch.full_like(self.t, stop), self.t + h)
            y, k, errors = self._try_step(t_next, h)
            with torch.no_grad():
                error = self._error(y, k, errors)
            good = active & (error <= 1)
            if torch.is_grad_enabled() and not good.all() and not error[~good].isfinite().all():
                # A row that is left behind must not bring its infinities into the gradients of the others.
                y, k, _ = self._try_step(torch.where(good, t_next, self.t), torch.where(good, h, torch.zeros_like(h)))
            self.y, self.k = self._chosen(good, y, self.y), self._chosen(good, k, self.k)
            self.t = torch.where(good, t_next, self.t)
            self.accepted += good
            self.rejected += active & ~good
            self._resize(h.abs(), error, active, good, last)

    def _try_step(self, t_next: Tensor, h: Tensor) -> tuple[Any, Any, list[Any]]:
        """The point behind a step, the rate there, and the estimates of the error."""
        t, step = self.t, h if self.batch else h.item()

        def trial(carried: Any) -> tuple[Any, Any, list[Any]]:
            y, first = carried
            k, point = stages(self.tableau, self.f, t, t_next, step, y, first)
            weighted = [[(step * e, rate) for e, rate in zip(errors, k) if e] for errors in self.tableau.errors]
            return point, k[-1], [combine(*terms) for terms in weighted]

        if self.solver.gradient == "checkpoint" and torch.is_grad_enabled():
            return recompute(trial, (self.y, self.k))
        return trial((self.y, self.k))

    def _error(self, y: Any, k: Any, errors: list[Any]) -> Tensor:
        """The estimated error of each row in units of the tolerance; infinite where a number is not finite."""
        before, behind = parts_of(self.y), parts_of(y)
        norms = []
        for estimate in errors:
            scaled = [
                e / (self.solver.atol + self.solver.rtol * torch.maximum(a.abs(), b.abs()))
                for e, a, b in zip(parts_of(estimate)[: self.controlled], before, behind)
            ]
            norms.append(self._rows(tuple(scaled), self._norm))
        error = norms[0]
        if len(norms) == 2:  # Hairer's combination for DOP853: of the order of the better estimate, and more robust
            error = error.square() / (error.square() + 0.01 * norms[1].square()).sqrt().clamp(min=_TINY)
        lost = ~torch.isfinite(self._rows(y, _largest) + self._rows(k, _largest)) | error.isnan()
        return error.masked_fill(lost, torch.inf)

    def _resize(self, h: Tensor, error: Tensor, active: Tensor, good: Tensor, last: Tensor) -> None:
        """The next size of each row."""
        bounded = error.clamp(min=1e-10)
        accepted = 0.9 * bounded ** (-0.7 / self.power) * self.before ** (0.4 / self.power)
        most = torch.where(self.held, 1.0, 10.0)  # no growth right behind a rejected step
        factor = torch.where(
            good, accepted.clamp(min=0.2).minimum(most), (0.9 * bounded ** (-1 / self.power)).clamp(0.2, 0.9)
        )
        size = h * factor
        # A step cut short by a stop says nothing against the size that it was cut from.
        size = torch.where(good & last, torch.maximum(size, self.size), size)
        self.size = torch.where(active, size, self.size)
        self.before = torch.where(good, error.clamp(min=1e-4), self.before)
        self.held = active & ~good

    def _first_size(self) -> Tensor:
        """The size of the first step of each row (Hairer, Nørsett, Wanner, II.4)."""
        scale = tuple(self.solver.atol + self.solver.rtol * part.abs() for part in parts_of(self.y)[: self.controlled])

        def size_of(state: Any) -> Tensor:
            return self._rows(tuple(part / s for part, s in zip(parts_of(state), scale)), self._norm)

        span = abs(self.stop - self.start)
        of_state, of_rate = size_of(self.y), size_of(self.k)
        guess = torch.where(
            (of_state < 1e-5) | (of_rate < 1e-5), 1e-6 * span, 0.01 * of_state / of_rate.clamp(min=_TINY)
        )
        guess = guess.clamp(min=2 * self.least, max=span)
        h = self.direction * guess
        k = self.f(self.t + h, move(self.y, (h, self.k)))
        difference = tuple(b - a for a, b in zip(parts_of(self.k), parts_of(k)))
        of_change = size_of(difference) / guess
        # Where the trial goes astray, the guess alone has to do.
        largest = torch.maximum(of_rate, of_change.nan_to_num(torch.inf))
        size = torch.where(largest <= 1e-15, guess, (0.01 / largest.clamp(min=1e-15)) ** (1 / self.power))
        return torch.minimum(100 * guess, size).clamp(min=2 * self.least, max=span)

    def _rows(self, state: Any, norm: Callable[[Tensor], Tensor]) -> Tensor:
        """The largest norm over the parts of a state, of each row."""
        count = len(self.batch)
        found = torch.zeros_like(self.t)
        for part in parts_of(state):
            if part.numel():
                flat = part.detach().reshape(*part.shape[:count], -1)
                found = torch.maximum(found, norm(flat).to(found.dtype))
        return found

    def _norm(self, flat: Tensor) -> Tensor:
        return _largest(flat) if self.solver.norm == "max" else flat.square().mean(-1).sqrt()

    def _chosen(self, good: Tensor, new: Any, old: Any) -> Any:
        """The new state of the rows that are good, the old one of the others."""
        if good.all():
            return new
        if not good.any():
            return old
        if isinstance(old, Tensor):
            return torch.where(good.reshape(*good.shape, *(1,) * (old.ndim - good.ndim)), new, old)
        return tuple(self._chosen(good, a, b) for a, b in zip(new, old, strict=True))

    def _check(self, largest: Tensor, what: str) -> None:
        if not largest.isfinite().all():
            self._fail(f"{what} is not finite", ~largest.isfinite(), "a look at the velocity there")

    def _advice(self, usual: str) -> str:
        solver = self.solver
        if max(solver.rtol, solver.atol) < 10 * self.resolution:
            name = str(self.t.dtype).removeprefix("torch.")
            return f"a tolerance that {name} can hold, above {10 * self.resolution:.0e}, or float64"
        return usual

    def _fail(self, reason: str, rows: Tensor, remedy: str) -> None:
        """Raises the error of the rows that can't go on: of the one that came least far."""
        solver = self.solver
        reached = torch.where(rows, (self.t - self.start).abs(), torch.inf).flatten()
        worst = int(reached.argmin())
        time, step = self.t.flatten()[worst].item(), self.size.flatten()[worst].item()
        row = f", row {worst}" if self.batch else ""
        raise SolverError(
            f"{type(solver).__name__}: {reason}: t = {time:g} was reached{row}, with a step of {step:.3g}, on the way "
            f"from {self.start:g} to {self.stop:g}, rtol {solver.rtol:g}, atol {solver.atol:g}; {remedy} would help",
            time,
            detach(self.y),
            step,
        )


_TINY = torch.finfo(torch.float32).tiny


def _largest(flat: Tensor) -> Tensor:
    return flat.abs().amax(-1)


def _rows_of(dynamics: Any, state: State) -> torch.Size:
    """The shape of the batch, with which every part of the state begins."""
    count = dynamics.batch_ndim
    if count is None:  # the adjoint's integrals over the parameters belong to no row
        return torch.Size()
    shapes = [part.shape for part in parts_of(state)]
    batch = shapes[0][:count]
    if any(shape[:count] != batch for shape in shapes):
        raise InputError(
            f"state: per_row needs parts that all begin with the batch, {[tuple(shape) for shape in shapes]} came; "
            "per_row=False would do"
        )
    return batch


class BogackiShampine(Embedded):
    r"""Bogacki and Shampine's pair of the orders 3(2): three evaluations a step, for loose tolerances.

    Args:
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        per_row: Whether each row has its own steps.
        norm: `max` or `rms`.
        max_evaluations: Most evaluations in one solve.
        gradient: `backprop`, `checkpoint` or `adjoint`; see `Embedded` for all of them.

    References:
        Bogacki, Shampine 1989, https://doi.org/10.1016/0893-9659(89)90079-7

    Example:
        >>> import torch, genflow as gf
        >>> solver = gf.solvers.BogackiShampine(rtol=1e-4, atol=1e-4)
        >>> round(solver.solve(lambda t, x: -x, torch.ones(1), torch.tensor([0.0, 1.0])).state.item(), 3)
        0.368
    """

    order = 3
    tableau = tableaus.BOGACKI_SHAMPINE


class DormandPrince(Embedded):
    r"""Dormand and Prince's pair of the orders 5(4): six evaluations a step.

    Args:
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        per_row: Whether each row has its own steps.
        norm: `max` or `rms`.
        max_evaluations: Most evaluations in one solve.
        gradient: `backprop`, `checkpoint` or `adjoint`; see `Embedded` for all of them.

    References:
        Dormand, Prince 1980, https://doi.org/10.1016/0771-050X(80)90013-3

    Example:
        >>> import torch, genflow as gf
        >>> rates, times = torch.tensor([[1.0], [40.0]]).double(), torch.tensor([0.0, 1.0]).double()
        >>> solver = gf.solvers.DormandPrince(per_row=True)
        >>> both = solver.solve(lambda t, x: -rates * x, torch.ones_like(rates), times).state
        >>> alone = solver.solve(lambda t, x: -rates[:1] * x, torch.ones_like(rates[:1]), times).state
        >>> torch.allclose(both[:1], alone, rtol=1e-12)  # the stiff neighbour changes nothing
        True
    """

    order = 5
    tableau = tableaus.DORMAND_PRINCE


class Tsitouras(Embedded):
    r"""Tsitouras' pair of the orders 5(4): six evaluations a step, with a smaller error than Dormand and Prince's.

    Args:
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        per_row: Whether each row has its own steps.
        norm: `max` or `rms`.
        max_evaluations: Most evaluations in one solve.
        gradient: `backprop`, `checkpoint` or `adjoint`; see `Embedded` for all of them.

    References:
        Tsitouras 2011, https://doi.org/10.1016/j.camwa.2011.06.002

    Example:
        >>> import torch, genflow as gf
        >>> solution = gf.solvers.Tsitouras().solve(lambda t, x: -x, torch.ones(1), torch.tensor([0.0, 1.0]))
        >>> round(solution.state.item(), 4), solution.nfe == 2 + 6 * (solution.steps + solution.rejected)
        (0.3679, True)
    """

    order = 5
    tableau = tableaus.TSITOURAS


class DOP853(Embedded):
    r"""Dormand and Prince's order 8 with error estimates of the orders 5 and 3: twelve evaluations a step.

    For tight tolerances, in float64. The two estimates are combined to :math:`E_5^2 / \sqrt{E_5^2 + 0.01 E_3^2}`.

    Args:
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        per_row: Whether each row has its own steps.
        norm: `max` or `rms`.
        max_evaluations: Most evaluations in one solve.
        gradient: `backprop`, `checkpoint` or `adjoint`; see `Embedded` for all of them.

    References:
        Hairer, Nørsett, Wanner, Solving Ordinary Differential Equations I, II.10,
        https://doi.org/10.1007/978-3-540-78862-1

    Example:
        >>> import math, torch, genflow as gf
        >>> times = torch.tensor([0.0, 1.0], dtype=torch.float64)
        >>> solution = gf.solvers.DOP853(rtol=1e-12, atol=1e-12).solve(lambda t, x: x, times[1:], times)
        >>> abs(solution.state.item() - math.e) < 1e-11
        True
    """

    order = 8
    tableau = tableaus.DOP853
