"""The studies of one trained model: what they report is what closed forms say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import genflow as gf
from genflow.errors import InputError
from genflow.studies.references import reference
from genflow.studies.subject import Subject, subject_of


def swinging():
    """x' = x cos 3t: log p and x are known in closed form."""
    velocity = gf.as_velocity(lambda x, t, condition: x * torch.cos(3 * t))
    return gf.Flow(velocity, base=gf.StandardNormal(2))


def turning(dim=4):
    """A linear field whose off-diagonal entries are known: the estimators' variance follows."""
    matrix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0))
    return matrix, gf.Flow(gf.as_velocity(lambda x, t, condition: x @ matrix.to(x).mT), base=gf.StandardNormal(dim))


@pytest.fixture(scope="module")
def study():
    return gf.studies.solvers(
        swinging(),
        ["euler", "midpoint", "rk4", "dopri5", "euler-maruyama"],
        rows=20,
        steps=(8, 16),
        tolerances=(1e-3, 1e-6),
        repeats=1,
        dtype="float64",
    )


def test_errors_fall_with_the_order(study):
    frame = study.frame.set_index(["integrator", "setting"])
    for name, order in (("euler", 1), ("midpoint", 2), ("rk4", 4)):
        for error in ("error_log_p", "error_x"):
            ratio = frame.loc[(name, "8 steps"), error] / frame.loc[(name, "16 steps"), error]
            assert math.log2(ratio) > order - 0.35  # log p is a quadrature, and may do better
        assert frame.loc[(name, "16 steps"), "nfe"] == 16 * order
    tight, loose = (frame.loc[("dopri5", f"rtol {rtol}"), "error_log_p"] for rtol in ("1e-06", "0.001"))
    assert tight < 1e-4
    assert tight < loose


def test_the_reference_is_the_closed_form():
    flow, x = swinging(), torch.randn(5, 2)
    truth = reference(flow, Subject("", flow, x), x)
    growth = math.sin(3.0) / 3
    torch.testing.assert_close(truth.x, x.double() * math.exp(-growth), rtol=1e-9, atol=1e-9)
    z = x.double() * math.exp(growth)
    torch.testing.assert_close(truth.log_p, flow.base.log_prob(z) + 2 * growth, rtol=1e-9, atol=1e-9)
    assert truth.error < 1e-7


def test_what_does_not_go_is_said_in_one_line(study):
    assert not (study.frame["integrator"] == "euler-maruyama").any()
    (note,) = study.notes
    assert note.startswith("not applicable here: euler-maruyama (")
    assert "\n" not in note


def test_a_stochastic_solver_is_shown_by_its_samples():
    torch.manual_seed(0)
    model = gf.baselines.ScoreSDE(2, width=8, depth=1, steps=8)
    found = gf.studies.solvers(model, ["euler-maruyama", "heun"], rows=20, steps=(4,), repeats=1)
    row = found.frame.set_index("integrator").loc["euler-maruyama"]
    assert np.isnan(row["error_log_p"])
    assert np.isnan(row["error_x"])
    assert np.isfinite(row["w2"])
    assert "samples only" in found.notes[0]


class OfTensors(gf.solvers.FixedStep):
    """A user's method, for states that are tensors; what it does not say."""

    order, evaluations = 2, 2

    def step(self, f, t, t_next, h, y):
        return y + h / 2 * (f(t, y) + f(t_next, y + h * f(t, y)))


def of_tensors(dynamics, x, times):
    for t, h in zip(times, times.diff()):
        x = x + h * dynamics(t, x)
    return x


def test_an_integrator_of_single_tensors_is_shown_by_its_samples():
    given = {"mine": OfTensors(), "a function": gf.as_integrator(of_tensors), "heun": gf.solvers.Heun()}
    found = gf.studies.solvers(swinging(), given, rows=20, steps=(8,), repeats=1)
    frame = found.frame.set_index("integrator")
    assert np.isnan(frame.loc["mine", "error_log_p"])
    assert frame.loc["mine", "error_x"] == pytest.approx(frame.loc["heun", "error_x"], rel=1e-4)
    assert frame.loc["a function", "sample_nfe"] == 8
    assert found.notes == ["samples only, no log p: mine, a function, which move points alone"]


class Broken(gf.solvers.FixedStep):
    """A user's method with a mistake in it."""

    order, evaluations = 1, 1

    def step(self, f, t, t_next, h, y):
        raise KeyError("tableau")


def broken(velocity, x, t, probes, condition):
    raise ZeroDivisionError("division by zero")


def test_what_fails_in_any_way_is_lost_alone():
    given = {"mine": Broken(), "heun": gf.solvers.Heun()}
    solvers = gf.studies.solvers(swinging(), given, rows=20, steps=(8,), repeats=1)
    assert np.isfinite(
        solvers.frame.set_index("integrator").loc["heun", ["error_log_p", "error_x"]].astype(float)
    ).all()
    assert solvers.notes == ["mine: refused: KeyError: 'tableau'"]
    given = {"mine": gf.as_divergence(broken), "exact": gf.divergences.Exact()}
    divergences = gf.studies.divergences(swinging(), given, rows=20, draws=2)
    assert np.isfinite(divergences.frame.set_index("divergence").loc["exact", "seconds"])
    assert "ZeroDivisionError: division by zero" in str(divergences)


def test_the_report_is_one_file_with_everything_in_it(study, tmp_path):
    study.save(tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.count("<figure>") == len(study.plots) == 2
    assert 'src="http' not in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "findings.csv",
        "config.json",
        "plots",
        "tables",
        "report.html",
    }
    with pytest.raises(InputError, match="exists"):
        study.save(tmp_path / "out")
    assert "rk4" in str(study)
    assert "<table" in study._repr_html_()


def test_the_standard_error_is_that_of_the_theory():
    matrix, flow = turning()
    found = gf.studies.divergences(flow, ["hutchinson", "finite-difference"], rows=200, probes=(1, 4), draws=30)
    frame = found.frame.set_index(["divergence", "n"])
    symmetric = (matrix + matrix.mT) / 2
    off = (symmetric - symmetric.diagonal().diag()).square().sum().item()
    for n in (1, 4):
        row = frame.loc[("hutchinson", n)]
        # 6000 draws of a standard deviation: 1 % of it is one standard error of that.
        assert row["standard_error"] == pytest.approx(math.sqrt(2 * off / n), rel=0.05)
        assert abs(row["bias"]) < 4 * row["bias_se"]
        steps = (row["nfe"] - 1) // 5  # each has two divergences, and the first one more
        assert row["pushes"] == n * (2 * steps + 1)
    assert frame.loc[("hutchinson", 4), "reported"] == pytest.approx(
        frame.loc[("hutchinson", 4), "standard_error"], rel=0.15
    )
    assert frame.loc[("exact", 0), "standard_error"] == 0
    assert frame.loc[("exact", 0), "largest_error"] < 1e-4
    assert found.pictures().pictures.keys() == {"cost", "bias", "along"}


def test_a_biased_estimator_is_found_out():
    _, flow = turning()

    def inflated(velocity, x, t, probes, condition):
        v, divergence = velocity.divergence(x, t, condition)
        return v, divergence + 0.5

    found = gf.studies.divergences(flow, {"inflated": gf.as_divergence(inflated, probes=None)}, rows=10, draws=3)
    assert found.frame.set_index("divergence").loc["inflated", "bias"] == pytest.approx(0.5, abs=1e-4)
    assert any("inflated is biased" in sentence for sentence in found.sentences)
    assert math.isnan(found.frame.set_index("divergence").loc["inflated", "pushes"])  # which a function does not count


def test_without_a_choice_every_estimator_that_needs_no_arguments_is_studied():
    flow = gf.Flow(gf.velocities.Shallow(2), gf.schedulers.Uniform(2))
    found = gf.studies.divergences(flow, rows=4, draws=2, probes=(1, 2))
    studied = {str(label).partition(",")[0] for label in found.config["divergences"]}
    assert studied == set(gf.naming.registry.names("divergence")) - {"control-variate"}
    solved = gf.studies.solvers(flow, rows=4, steps=(2,), tolerances=(1e-3,), repeats=1)
    assert set(solved.config["integrators"]) == set(gf.naming.registry.names("integrator"))


def test_the_cheapest_is_named_for_what_is_wanted():
    _, flow = turning()
    loose = gf.studies.divergences(flow, ["hutchinson"], rows=20, draws=3, probes=(1, 2), wanted=100.0)
    assert loose.sentences[0].startswith("At d = 4, a standard error of 100 nats is cheapest with ")
    tight = gf.studies.divergences(flow, ["hutchinson"], rows=20, draws=3, probes=(1, 2), wanted=1e-3)
    assert "the exact divergence" in tight.sentences[0]


def test_a_model_without_a_velocity_is_refused():
    with pytest.raises(InputError, match="integrates no velocity"):
        gf.studies.solvers(gf.baselines.NSF(2, transforms=1, width=8))


def test_rows_of_a_study_come_back_in_the_units_of_the_data():
    fitted = gf.models.JKOiFlow(2, blocks=1, width=8).fit("two-moons", iterations=8)
    rows = gf.data.load("two-moons").test[:5]
    subject = subject_of(fitted, rows=20)
    assert torch.allclose(subject.in_units_of_data(fitted.standardize(rows)[0]), rows, atol=1e-5)
