"""A fitted model: what it takes, what it gives back, and what the model that it came of says from then on."""

from __future__ import annotations

import io
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import genflow as gf
from genflow.fitted import Transformed
from genflow.numerics.portions import Meter, Portions
from genflow.training.progress import Line

KINDS = {
    "jko-iflow": lambda dim=3: gf.models.JKOiFlow(dim, blocks=1, width=8),
    "cnf": lambda dim=3: gf.models.CNF(dim, width=8),
    "flow-matching": lambda dim=3: gf.models.FlowMatching(dim, width=8, steps=4),
    "score-sde": lambda dim=3: gf.baselines.ScoreSDE(dim, width=8, steps=4),
    "nsf": lambda dim=3: gf.baselines.NSF(dim, width=8, transforms=2),
    "maf": lambda dim=3: gf.baselines.MAF(dim, width=8, transforms=2),
}
kinds = pytest.mark.parametrize("kind", KINDS)
two_kinds = pytest.mark.parametrize("kind", ["jko-iflow", "nsf"])  # where all share the code


@pytest.fixture(scope="module")
def frame():
    return pd.DataFrame(np.random.default_rng(0).normal(size=(200, 3)) * [1, 10, 100], columns=list("abc"))


@pytest.fixture(scope="module")
def fitted(frame):
    return {kind: build().fit(frame, iterations=3) for kind, build in KINDS.items()}


def near(a, b):
    """To float32's rounding of log densities of some tens of nats, in networks of a few thousand products."""
    return torch.allclose(torch.as_tensor(a).double(), torch.as_tensor(b).double(), rtol=1e-4, atol=1e-4)


@kinds
def test_fit_leaves_the_model_as_it_was_and_a_second_one_begins_anew(kind, frame):
    model = KINDS[kind]()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = model.fit(frame, iterations=3, seed=4)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    second = model.fit(frame, iterations=3, seed=4)
    assert torch.equal(first.log_prob(frame), second.log_prob(frame))


def test_a_single_row_has_a_log_density_without_batch(fitted, frame):
    row = torch.as_tensor(frame.to_numpy()[0])
    assert fitted["nsf"].log_prob(row).shape == ()
    assert near(fitted["nsf"].log_prob(row), fitted["nsf"].log_prob(row[None])[0])


@two_kinds
@pytest.mark.parametrize("call", ["sample", "log_prob", "encode", "save"])
def test_the_model_that_fit_was_called_on_says_that_it_is_not_fitted(kind, call, frame, tmp_path):
    model = KINDS[kind]()
    model.fit(frame, iterations=2)
    if call == "save" and kind in ("nsf", "maf"):
        pytest.skip("has no save of its own")
    argument = {"sample": 3, "save": tmp_path / "run"}.get(call, torch.zeros(1, 3))
    with pytest.raises(gf.InputError, match=r"not fitted.*fitted = model\.fit"):
        getattr(model, call)(argument)
    assert not (tmp_path / "run").exists()


@kinds
def test_rows_come_as_frames_arrays_lists_and_tensors(kind, fitted, frame, tmp_path):
    model = fitted[kind]
    log_p = model.log_prob(torch.as_tensor(frame.values))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    reverse = frame.values[::-1]
    for rows in (
        frame,
        frame[["c", "a", "b"]],
        frame.assign(further=1.0),
        frame.values.tolist(),
        np.asfortranarray(frame.values),
        frame.values.astype(">f8"),
        tmp_path / "rows.csv",
        str(tmp_path / "rows.csv"),
    ):
        assert near(model.log_prob(rows), log_p)
    assert near(model.log_prob(reverse).flip(0), log_p)
    assert near(model.encode(frame[["b", "c", "a"]]), model.encode(frame.values))
    assert near(model.score(frame[["b", "c", "a"]][:5]), model.score(frame.values[:5]))


@kinds
def test_a_missing_value_is_an_error_with_its_place(kind, fitted, frame):
    rows = frame.values.copy()
    rows[7, 1] = np.nan
    for wrong in (rows, torch.as_tensor(rows), np.ma.masked_invalid(rows), rows.tolist()):
        for call in (fitted[kind].log_prob, fitted[kind].encode, fitted[kind].score):
            with pytest.raises(gf.InputError, match="row 8, column 'b': a missing value"):
                call(wrong)
    rows[7, 1] = np.inf
    with pytest.raises(gf.InputError, match="row 8, column 'b': inf"):
        fitted[kind].log_prob(rows)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.zeros((3, 2)), "rows of 3 numbers"),
        (pd.DataFrame({"a": [0.0], "b": [0.0]}), "missing columns: c"),
        (pd.DataFrame({"a": [0.0], "b": [0.0], "d": [0.0]}), "missing columns: c"),
        ([[0, 0], [0]], "different length"),
        ([["x", "y", "z"]], "rows of numbers"),
        (np.zeros((2, 3), complex), "rows of numbers"),
        (object(), "rows of numbers"),
    ],
)
def test_what_are_no_rows_is_one_line(rows, said, fitted):
    with pytest.raises(gf.InputError, match=said) as caught:
        fitted["cnf"].log_prob(rows)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: gf.baselines.NSF(2, width=8),
        lambda: gf.models.JKOiFlow(2, width=8),
        lambda: gf.models.FlowMatching(2, width=8),
        lambda: gf.baselines.GaussianMixture(2),
        lambda: gf.baselines.Copula(2),
        lambda: gf.Flow(gf.velocities.Shallow(2, 8)),
    ],
)
@pytest.mark.parametrize("rows", [pd.DataFrame(np.eye(2)), np.eye(2, dtype=np.float32), [[0.0, 1.0]], "rows.csv"])
def test_a_model_that_is_not_fitted_takes_tensors_alone(build, rows):
    model = build()
    for name in ("log_prob", "encode", "decode") if model.invertible else ("log_prob",):
        method = getattr(type(model), name)
        if method is getattr(gf.Flow, name):
            method = method.__wrapped__  # without the shapes that tests hold against it before
        said = f"^{name}: a {type(rows).__name__} came, and this {type(model).__name__} is not fitted; a tensor"
        with pytest.raises(gf.InputError, match=said):
            method(model, rows)


@kinds
def test_no_graph_is_recorded_unless_it_is_wanted(kind, fitted, frame):
    model = fitted[kind]
    x = torch.as_tensor(frame.values[:4])
    assert not model.log_prob(x).requires_grad
    assert not model.encode(x).requires_grad
    assert not model.score(x).requires_grad
    model.sample(2).numpy()  # which torch refuses for what is part of a graph
    assert model.log_prob(x, differentiable=True).requires_grad
    assert model.sample(2, differentiable=True).requires_grad
    asked = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_prob(asked).sum(), asked)
    assert near(gradient, model.score(x))
    with torch.no_grad():
        assert not model.log_prob(x, differentiable=True).requires_grad


@pytest.mark.parametrize("number", [np.int64(5), torch.tensor(5), (5,), torch.Size([5]), np.array(5)])
@two_kinds
def test_a_number_of_samples_of_any_kind_of_integer(kind, number, fitted):
    assert fitted[kind].sample(number).shape == (5, 3)


@pytest.mark.parametrize("number", [-1, 2.5, "5", True, None, (2, -3), np.array([2.0])])
@two_kinds
def test_what_is_no_number_of_samples_is_one_line(kind, number, fitted):
    with pytest.raises(gf.InputError, match=r"shape: .* came"):
        fitted[kind].sample(number)
    with pytest.raises(gf.InputError, match=r"shape: .* came"):
        KINDS[kind]().sample(-1)


@kinds
def test_no_sample_at_all(kind, fitted):
    x, log_p = fitted[kind].sample_with_log_prob(0)
    assert x.shape == (0, 3)
    assert log_p.shape == (0,)


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5, "3", None, True])
def test_what_is_no_seed_is_one_line(seed, frame):
    with pytest.raises(gf.InputError, match=r"seed: .* came; a whole number from 0"):
        gf.models.FlowMatching(3, width=8).fit(frame, iterations=1, seed=seed)
    with pytest.raises(gf.InputError, match=r"seeds: .* came; a whole number from 0"):
        gf.compare(frame, ["nsf"], iterations=1, seeds=[seed], progress=False)


@two_kinds
def test_another_kind_of_generator_is_one_line(kind, fitted):
    for generator in (np.random.default_rng(0), 0):
        with pytest.raises(gf.InputError, match=r"generator: .* torch\.Generator"):
            fitted[kind].sample(3, generator=generator)


@two_kinds
def test_samples_as_a_frame(kind, fitted):
    generator = torch.Generator().manual_seed(1)
    table = fitted[kind].sample_frame(4, generator=generator)
    assert table.columns.tolist() == ["a", "b", "c"]
    again = fitted[kind].sample(4, generator=generator.manual_seed(1))
    assert np.array_equal(table.values, again.numpy())


def test_a_conditional_frame_brings_its_condition_along():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=300), "y": rng.normal(size=300), "c": rng.choice(["u", "v"], 300)})
    data = gf.data.load(table, condition=["c"])
    model = gf.models.CNF(2, width=8, condition_dim=2).fit(data, iterations=3)
    given = model.log_prob(table[["x", "y"]], table[["c"]])
    assert near(model.log_prob(table[["c", "y", "x"]]), given)
    assert model.sample_frame(3, ["u"])["c"].tolist() == ["u"] * 3
    with pytest.raises(gf.InputError, match="condition: none came"):
        model.log_prob(table[["x", "y"]])


@kinds
def test_fit_keeps_the_dtype(kind, frame):
    model = KINDS[kind]().double().fit(frame, iterations=4)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert model.log_prob(frame).dtype == torch.float64


@kinds
def test_a_default_dtype_of_double_serves(kind, frame):
    torch.set_default_dtype(torch.float64)
    try:
        model = KINDS[kind]().fit(frame, iterations=3)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
        assert model.log_prob(frame).isfinite().all()
        assert model.sample(3).isfinite().all()
    finally:
        torch.set_default_dtype(torch.float32)


@two_kinds
def test_half_precision_is_refused_in_one_line(kind, frame):
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.raises(gf.InputError, match=r"model: .*float16.* model\.float\(\)"):
            KINDS[kind]().to(dtype).fit(frame, iterations=2)
        model = KINDS[kind]().fit(frame, iterations=2).to(dtype)
        with pytest.raises(gf.InputError, match=r"model: .*float16.* model\.float\(\)"):
            model.sample(2)


@two_kinds
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_fit_where_gradients_are_switched_off(kind, mode, frame):
    with mode():
        model = KINDS[kind]().fit(frame, iterations=3, seed=1)
        assert model.sample(2).shape == (2, 3)
    torch.manual_seed(0)
    with mode():
        first = KINDS[kind]().fit(frame, iterations=3)
    torch.manual_seed(0)
    assert torch.equal(KINDS[kind]().fit(frame, iterations=3).log_prob(frame), first.log_prob(frame))


@kinds
def test_a_warm_start_goes_on_from_the_weights_and_in_the_units(kind, fitted, frame):
    model = fitted[kind]
    with pytest.raises(gf.InputError, match=r"fit: this model is fitted; fit\(…, warm_start=True\)"):
        model.fit(frame, iterations=2)
    before = model.log_prob(frame)
    # Weights that nothing is learned on stay what they are: so it began from them, not anew.
    calls = []
    further = model.fit(frame, iterations=2, warm_start=True, progress=lambda event: calls.append(event))
    assert calls
    assert len(further.history) > len(model.history)
    assert torch.equal(model.log_prob(frame), before)
    assert torch.equal(further.preprocessor(torch.zeros(1, 3))[1], model.preprocessor(torch.zeros(1, 3))[1])
    assert (further.log_prob(frame) - before).abs().mean() < 1  # two small steps
    with pytest.raises(gf.InputError, match="the model was fitted to a, b, c"):
        model.fit(frame.rename(columns={"a": "z"}), iterations=2, warm_start=True)


def test_a_chain_that_ended_with_rounds_can_not_go_on(frame):
    model = gf.models.JKOiFlow(3, blocks=1, width=8, refine=1, joint=0.0).fit(frame, iterations=8)
    if any(entry.get("halvings") for entry in model.history):
        with pytest.raises(gf.InputError, match="rounds"):
            model.fit(frame, iterations=4, warm_start=True)


def test_progress_is_a_line_on_standard_error(frame, capsys):
    gf.models.CNF(3, width=8).fit(frame, iterations=4, progress=True)
    shown = capsys.readouterr()
    assert not shown.out
    assert "likelihood: 100 %, step" in shown.err
    assert shown.err.endswith("\n")


def test_remarks_are_warnings_one_each(frame):
    rounded = frame.round(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = gf.data.load(rounded)
    said = [str(warning.message) for warning in caught if issubclass(warning.category, gf.Remark)]
    assert data.remarks
    assert said == data.remarks
    assert {warning.filename for warning in caught} == {__file__}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gf.data.load(data)
    assert not caught  # they were said before


def test_what_a_model_says_of_itself(fitted, frame):
    for model in fitted.values():
        text = repr(model)
        assert "\n" not in text
        assert f"{type(model.model).__name__} fitted to table: 3 columns (a, b, c)" in text
        assert "3 steps" in text
        assert "nats" in text


# Portions


def test_the_meter_counts_what_is_alive_and_not_what_was_freed():
    with Meter() as meter:
        total = torch.zeros(())
        for _ in range(10):
            total = total + torch.ones(1000).sum()
    assert 4000 <= meter.peak < 2 * 4000  # never two of them
    with Meter() as meter:
        kept = [torch.ones(1000) for _ in range(10)]
    assert meter.peak == 40_000
    del kept
    assert meter.alive == 0


@pytest.mark.parametrize("limit", [1, 10_000, 1 << 30])
@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 100, 20_000])
def test_portions_cover_all_rows_once_and_in_order(limit, count):
    x = torch.arange(count)
    for _ in range(2):  # measured, and known
        portions = Portions(limit)
        for _ in range(2):
            assert torch.equal(torch.cat(portions.run("none", count, lambda a, b: x[a:b] + 0)), x)


def test_portions_hold_what_their_bound_allows():
    sizes = []

    def wide(start, stop):
        sizes.append(stop - start)
        return torch.ones(stop - start, 1000).sum(-1)

    Portions(limit=400_000).run("wide", 1000, wide)  # 4000 bytes a row, and 4 of its sum
    assert max(sizes[1:]) <= 100


@kinds
def test_many_rows_and_samples_come_in_portions_that_agree(kind, fitted, frame, monkeypatch):
    model = Transformed(**fitted[kind].config())
    rows, generator = torch.tensor(frame.values), torch.Generator().manual_seed(0)
    whole, noise = model.log_prob(rows), model.encode(rows)
    monkeypatch.setattr("genflow.fitted.portions.FEW_NUMBERS", 3)
    sizes, run = [], Portions.run

    def counted(self, operation, count, compute, few):
        self.limit = 60 * self._bytes.get(operation, 1e9)  # measured, and the rest at once; then up to sixty
        return run(self, operation, count, lambda a, b: (sizes.append(b - a), compute(a, b))[1], few)

    monkeypatch.setattr(Portions, "run", counted)
    for _ in range(2):
        assert near(model.log_prob(rows), whole)
        assert near(model.encode(rows), noise)
        assert torch.allclose(model.decode(noise), rows, rtol=1e-2, atol=1e-1)
        assert model.sample(40, generator=generator).isfinite().all()
    assert set(sizes) == {32, 168, 8, 50, 40}


def test_line_of_progress():
    text = io.StringIO()
    with Line(text):
        pass
    assert text.getvalue() == ""


@pytest.mark.parametrize("build", [gf.baselines.NSF, gf.baselines.Gaussian, gf.models.FlowMatching])
def test_no_rows_and_rows_beyond_all_numbers(build):
    options = {} if build is gf.baselines.Gaussian else {"width": 8}
    fitted = build(2, **options).fit("two-moons", iterations=1)
    assert fitted.log_prob(torch.zeros(0, 2)).shape == (0,)
    assert fitted.encode(torch.zeros(0, 2)).shape == (0, 2)
    assert fitted.sample_with_log_prob(0)[1].shape == (0,)
    far, near = fitted.log_prob([[1e300, 0.0], [0.5, 0.2]]).tolist()
    assert far == -math.inf
    assert math.isfinite(near)


def test_whole_numbers_of_any_kind_and_nothing_else():
    moons = gf.data.load("two-moons")
    model = gf.baselines.Gaussian(2)
    fitted = model.fit(moons, iterations=np.int64(1), seed=np.int64(3))
    for wrong in ("5", 2.5, True, 0):
        with pytest.raises(gf.InputError, match=r"iterations: .* a whole number from 1 on would do"):
            model.fit(moons, iterations=wrong)
    for wrong in ("5", 2.5, True, 0):
        with pytest.raises(gf.InputError, match=r"draws: .* a whole number from 1 on would do"):
            fitted.log_prob(moons.test[:2], draws=wrong)
    with pytest.raises(MemoryError, match="of this machine"):
        fitted.sample(10**13)


@pytest.mark.parametrize("sampler", [gf.solvers.DPMSolver(), gf.solvers.DDIM(), gf.solvers.EulerMaruyama()])
def test_a_model_whose_solver_moves_points_alone_is_kept(sampler, tmp_path):
    """It has samples, and says before any use that it has no log p; its training is not lost to the check of one."""
    model = gf.baselines.ScoreSDE(2, width=8, integrator=sampler)
    fitted = model.fit(torch.randn(60, 2, generator=torch.Generator().manual_seed(0)), iterations=3)
    assert not fitted.has_log_prob
    assert any("moves points alone: there are samples, and no log p" in remark for remark in fitted.remarks)
    fitted.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    assert again.sample(5).shape == (5, 2)
    with pytest.raises(gf.InputError, match=r"integrator: .* moves points alone; log p needs an ODE solver"):
        again.log_prob(torch.zeros(1, 2))
    assert again.replace(integrator=gf.solvers.RK4()).has_log_prob
