"""Arguments in groups: typed together or each by itself, they are the same model, and kept in one way."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import pytest
import torch

import genflow as gf
from genflow import InputError
from genflow.groups import Group, flatten_groups, groups_of
from genflow.interfaces import Component
from genflow.models import BlockNetwork, Discretization, Optimization, Rounds, Stages, WarmUp
from genflow.naming import registry

MOST = 12  # arguments of one constructor


@dataclass(frozen=True)
class Inner(Group):
    width: int = 3
    depth: int | None = None


class Outer(Component):
    @flatten_groups
    def __init__(self, dim: int, *, inner: Inner = Inner(width=4), **parts):
        self.dim, self.inner, self.parts = dim, inner, parts


@pytest.mark.parametrize(
    ("options", "inner"),
    [
        ({}, Inner(4)),
        ({"width": 5}, Inner(5)),
        ({"inner": Inner(5)}, Inner(5)),
        ({"inner": Inner(5, 2), "depth": 1}, Inner(5, 1)),  # what is typed by itself comes first
        ({"depth": 1}, Inner(4, 1)),
    ],
)
def test_a_field_by_itself_stands_for_its_group(options, inner):
    outer = Outer(2, **options, other=1)
    assert outer.inner == inner
    assert outer.parts == {"other": 1}
    assert outer.config() == {"dim": 2, "width": inner.width, "depth": inner.depth, "other": 1}
    assert Outer(**outer.config()).inner == inner
    assert outer.rebuilt(width=9).inner == Inner(9, inner.depth)


def test_what_is_no_such_group_is_refused():
    with pytest.raises(InputError, match="inner: a int came; a Inner would do"):
        Outer(2, inner=3)


def test_the_signature_names_the_fields_with_their_types():
    parameters = inspect.signature(Outer).parameters
    assert list(parameters) == ["dim", "width", "depth", "parts"]
    assert (parameters["width"].default, parameters["width"].annotation) == (4, int)
    assert groups_of(Outer) == {"inner": Inner(4)}
    assert groups_of(Inner) == groups_of(len) == {}


def test_one_model_in_two_spellings():
    flat = gf.models.JKOiFlow(2, width=8, refine=1, joint=0.3, train_steps=2, batch_size=64)
    grouped_ = gf.models.JKOiFlow(
        2,
        network=BlockNetwork(8),
        rounds=Rounds(refine=1),
        stages=Stages(joint=0.3),
        discretization=Discretization(steps=8, train_steps=2),
        optimization=Optimization(batch_size=64),
    )
    names = flat.config().keys() - {"velocity", "scheduler", "integrator", "divergence", "base"}
    assert {name: flat.config()[name] for name in names} == {name: grouped_.config()[name] for name in names}
    cnf = gf.models.CNF(2, warm_up=WarmUp(0.0), optimization=Optimization("adam"), learning_rate=0.5)
    assert (cnf.warm_up.matching, cnf.optimization.optimizer, cnf.optimization.learning_rate) == (0.0, "adam", 0.5)


def test_a_model_of_groups_is_saved_and_loaded(tmp_path):
    torch.manual_seed(0)
    model = gf.models.CNF(2, 8, optimization=Optimization("adam", batch_size=7), steps=3)
    model.save(tmp_path / "model")
    again = gf.load(tmp_path / "model")
    assert again.optimization == Optimization("adam", batch_size=7, sharpness=0.0)
    assert again.scheduler.steps == 3
    x = torch.randn(5, 2)
    assert torch.equal(again.log_prob(x), model.log_prob(x))


@pytest.mark.parametrize("entry", registry.entries("model"), ids=lambda entry: entry.name)
def test_no_model_takes_more_than_twelve_arguments(entry):
    found = entry.load()
    constructor = inspect.unwrap(found.__init__ if isinstance(found, type) else found)
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    own = [p for name, p in inspect.signature(constructor).parameters.items() if name != "self" and p.kind not in kinds]
    assert len(own) <= MOST
    for group in groups_of(found).values():
        assert len(group.config()) <= MOST
