"""A stage's arguments in records; and no constructor of the package with more than twelve."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from dataclasses import dataclass

import pytest
import torch

import genflow
from genflow import InputError
from genflow.training import Budget, Optimization, Refinement, Regime, Stage
from genflow.training.loop import StageRun

MOST = 12  # arguments of one constructor


def stage(**options) -> Stage:
    """A weight that learns the mean of rows that are all 2."""
    weight, rows = torch.nn.Parameter(torch.zeros(1)), torch.full((32, 1), 2.0)
    loss = lambda batch, generator: (batch - weight).square().mean()
    validate = lambda batch, generator: (batch - weight).square().mean(1)
    return Stage("mean", [weight], rows, rows, loss, validate, **options)


def run(of: Stage, iterations: int = 20) -> StageRun:
    return StageRun(of, Budget(iterations=iterations), torch.Generator().manual_seed(0), 0.0)


# Records


def test_a_field_by_itself_stands_for_its_record():
    typed = stage(learning_rate=0.1, batch_size=8, sharp_after=0.0, warmup=0.5)
    assert typed.optimization == Optimization("adam", 0.1, 8, sharpness=0.0, average=0.0)
    assert typed.regime == Regime(sharp_after=0.0, warmup=0.5)
    assert (typed.learning_rate, typed.batch_size, typed.sharp_after) == (0.1, 8, 0.0)


def test_to_set_a_field_leaves_the_others_and_other_stages_alone():
    one, other = stage(learning_rate=0.1), stage()
    one.batch_size = 4
    assert one.optimization == Optimization("adam", 0.1, 4, sharpness=0.0, average=0.0)
    assert other.optimization == stage().optimization


def test_an_argument_that_is_none_is_refused():
    with pytest.raises(TypeError, match="learning_speed"):
        stage(learning_speed=1.0)
    with pytest.raises(InputError, match="optimization: a Regime came; a Optimization would do"):
        stage(optimization=Regime())


def test_a_model_s_optimization_without_a_sharpness_of_its_own_takes_plain_steps():
    assert Optimization().sharpness is None
    plain, none = run(stage(sharpness=0.0)), run(stage(sharpness=None))
    assert plain()["curve"][-1][1:] == none()["curve"][-1][1:]
    assert torch.equal(plain.parameters[0], none.parameters[0])


@pytest.mark.parametrize(("error", "refined"), [(0.0, []), (0.1, []), (0.5, [1, 2, 3, 4]), (math.nan, [1, 2, 3, 4])])
def test_a_grid_whose_error_is_exploited_becomes_finer(error, refined):
    levels: list[int] = []
    of = stage(learning_rate=0.1)
    of.refinement = Refinement(lambda rows, g: of.validate(rows, g) + error, levels.append, tolerance=0.3)
    entry = run(of)()
    assert levels == refined  # four times at most
    assert entry["refinements"] == len(refined)


def test_weights_whose_figures_are_not_to_be_trusted_are_never_kept():
    """Two grids that are further apart than fifteen times the tolerance: the finer one's error is more than that."""
    of = stage(learning_rate=0.1)
    begin = [parameter.detach().clone() for parameter in of.parameters]
    of.refinement = Refinement(lambda rows, g: of.validate(rows, g) - 4.6, lambda level: None, tolerance=0.3)
    entry = run(of)()
    assert entry["refinements"] == 4
    assert entry["learning_rate"] < 0.1 / 3**3  # nothing finer is left: smaller and smaller steps from the best weights
    assert all(torch.equal(*pair) for pair in zip(of.parameters, begin, strict=True))
    of.refinement = Refinement(lambda rows, g: of.validate(rows, g) - 4.4, lambda level: None, tolerance=0.3)
    entry = run(of)()
    assert entry["learning_rate"] == 0.1
    assert entry["validation"] == min(value for _, _, value in entry["curve"]) < entry["curve"][0][2]


def test_a_lean_stage_keeps_the_memory_of_its_gradients():
    lean, usual = run(stage(learning_rate=0.1, lean=True)), run(stage(learning_rate=0.1))
    place = lean.parameters[0].grad.data_ptr()
    lean(), usual()
    assert lean.parameters[0].grad.data_ptr() == place
    assert torch.equal(lean.parameters[0], usual.parameters[0])


def test_the_betas_are_adam_s():
    betas = (0.5, 0.75)
    assert run(stage(betas=betas)).optimizer.param_groups[0]["betas"] == betas


# Constructors


def arguments(constructor) -> int:
    """How many a constructor takes, groups as one: what `flatten_groups` opened is folded again."""
    signature = inspect.signature(inspect.unwrap(constructor))
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return sum(each.kind not in open_ended for each in signature.parameters.values()) - 1


def constructors() -> dict[str, int]:
    """How many arguments each class of the package takes that has a constructor of its own.

    What a tuple is made of, are its columns rather than arguments.
    """
    found = {}
    for module in pkgutil.walk_packages(genflow.__path__, "genflow."):
        if module.name.endswith("__main__"):
            continue
        for name, each in vars(importlib.import_module(module.name)).items():
            own = isinstance(each, type) and each.__module__ == module.name and "__init__" in vars(each)
            if own and not issubclass(each, tuple):
                found[f"{module.name}.{name}"] = arguments(each.__init__)
    return found


def test_no_constructor_takes_more_than_twelve_arguments():
    counts = constructors()
    assert {"genflow.training.stage.Stage", "genflow.models.jko_iflow.JKOiFlow"} <= counts.keys()
    assert {name: count for name, count in counts.items() if count > MOST} == {}


def test_a_constructor_s_arguments_are_counted():
    @dataclass
    class Record:
        a: int
        b: int = 0

    class Open(Record):
        def __init__(self, a, *rest, b, **parts):
            super().__init__(a, b)

    assert (arguments(Record.__init__), arguments(Open.__init__)) == (2, 2)
    # Twelve with its two records, of eight and five fields.
    assert arguments(Stage.__init__) == 12 < len(inspect.signature(Stage).parameters)
