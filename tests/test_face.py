"""The face of the package: the code that its users are promised, word for word, with a short budget."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import genflow as gf

FACE = """
import genflow as gf

data = gf.data.load("customers.csv")        # or "two-moons", "digits", a picture; .train .validation .test .preprocessor .dim
model = gf.models.JKOiFlow(data.dim).fit(data, budget="2min")      # or iterations=5000
log_p = model.log_prob(data.test)                                  # nats, in the units of the file
x, log_p = model.sample_with_log_prob(1000, generator=generator)
model.save("run");  model = gf.load("run")

board = gf.compare(["two-moons", "customers.csv"], models=["jko-iflow", "cnf", "flow-matching", "score-sde", "nsf"], budget="60s")
board.frame;  board.report("report.html")

model.replace(integrator=gf.solvers.Adaptive("dopri5", rtol=1e-6))  # swap the ODE solver: same weights
model.replace(divergence=my_estimator)                              # plug in a divergence estimator
"""  # noqa: E501


@pytest.mark.slow
def test_the_face_works_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("genflow.data.loading._ROWS", 500)  # two moons, soon drawn and judged
    rng = np.random.default_rng(0)
    age = rng.normal(45, 12, 300)
    rows = np.column_stack([age, 800 + 50 * age + rng.normal(0, 300, 300), rng.gamma(2.0, 3.0, 300)])
    np.savetxt("customers.csv", rows, delimiter=",", header="age,income,visits", comments="", fmt="%.6f")

    def my_estimator(velocity, x, t, probes, condition):
        return gf.Estimate(*velocity.divergence(x, t, condition))

    names = {"generator": torch.Generator().manual_seed(0), "my_estimator": my_estimator}
    code = FACE.replace('budget="2min"', "iterations=20").replace('budget="60s"', 'iterations=2, evaluation="5s"')
    assert code.count("iterations=20)") == code.count("iterations=2,") == 1
    exec(compile(code, "face", "exec"), names)

    data, model, board = names["data"], names["model"], names["board"]
    assert data.columns == ["age", "income", "visits"]
    assert names["x"].shape == (1000, 3)
    assert names["log_p"].shape == (1000,)
    log_p = model.log_prob(data.test)
    assert log_p.shape == (len(data.test),)
    # In the units of the file: within a nat of the Gaussian with its moments.
    gaussian = torch.distributions.MultivariateNormal(data.train.mean(0), data.train.T.cov())
    assert abs((log_p.mean() - gaussian.log_prob(data.test).mean()).item()) < 1
    assert len(board.frame) == 10
    assert all(status.startswith("ok") for status in board.frame.status), board.frame.status
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")
    finer = model.replace(integrator=gf.solvers.Adaptive("dopri5", rtol=1e-6))
    # The grid was settled to 0.01 nats in the mean; these are 30 other rows, and a second is as many steps as it is.
    assert abs((finer.log_prob(data.test) - log_p).mean().item()) < 0.05
    torch.testing.assert_close(model.replace(divergence=my_estimator).log_prob(data.test), log_p)
    assert math.isfinite(log_p.sum().item())
