"""Conditional flows: every model learns a known conditional law, and takes the user's own values for its condition."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import genflow as gf
from genflow.cli import main
from genflow.models.coupling import coupling
from genflow.training import Budget, Stage, TrainingData, pair, train, unpair
from genflow.velocities import Chain, Guided, OptionalCondition, ResidualMLP, Shallow, strike_out

# Iterations enough for what is asserted below. Over five seeds the share of what the condition tells that is missed is
# 0.08 ± 0.014 for jko-iflow and less for the others; a mean of samples is off by 0.08 ± 0.012, a covariance by
# 0.04 ± 0.01 at the most: six deviations stay below the bounds of 0.2, 0.15 and 0.15.
MODELS = {
    "jko-iflow": (gf.models.JKOiFlow, {"width": 32, "steps": 6}, 400),
    "cnf": (gf.models.CNF, {"width": 32, "steps": 8}, 240),
    "flow-matching": (gf.models.FlowMatching, {"width": 48, "condition_dropout": 0.1}, 500),
    "flow-matching-ot": (gf.models.FlowMatching, {"width": 48, "coupling": "ot", "batch_size": 128}, 500),
    "score-sde": (gf.baselines.ScoreSDE, {"width": 48, "condition_dropout": 0.1}, 500),
    "nsf": (gf.baselines.NSF, {"width": 32, "transforms": 2}, 150),
    "maf": (gf.baselines.MAF, {"width": 32, "transforms": 2}, 150),
}
SLOPE, MEANS = torch.tensor([1.0, -0.5]).double(), torch.tensor([[0.0, 0.0], [2.0, -1.0], [-2.0, 1.5]]).double()
ROOT = torch.tensor([[0.4, 0.0], [0.2, 0.3]]).double()


def table(n: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Rows of x = A u + b_k + noise with a number u and a class k."""
    rng = np.random.default_rng(seed)
    u, k = rng.normal(size=n), rng.integers(3, size=n)
    x = u[:, None] * SLOPE.numpy() + MEANS.numpy()[k] + rng.normal(size=(n, 2)) @ ROOT.numpy().T
    return pd.DataFrame({"x": x[:, 0], "u": 50 + 10 * u, "y": x[:, 1], "k": np.array(["ash", "birch", "cedar"])[k]})


def truth(condition) -> torch.distributions.MultivariateNormal:
    """The law of (x, y) under each row of conditions."""
    u = torch.tensor((condition[:, 0].astype(float) - 50) / 10)
    k = [["ash", "birch", "cedar"].index(name) for name in condition[:, 1]]
    return torch.distributions.MultivariateNormal(u[:, None] * SLOPE + MEANS[k], scale_tril=ROOT)


@pytest.fixture(scope="module")
def data():
    return gf.data.load(table(), condition=["u", "k"], name="trees")


@pytest.fixture(scope="module")
def fitted(data):
    """Trained models by name, each trained when it is first asked for."""
    cache = {}

    def get(name: str):
        if name not in cache:
            cls, options, iterations = MODELS[name]
            torch.manual_seed(0)
            model = cls(data.dim, condition_dim=data.condition_dim, **options)
            with torch.enable_grad():
                cache[name] = model.fit(data, iterations=iterations)
        return cache[name]

    return get


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
@pytest.mark.slow
def test_a_model_learns_the_conditional_law(fitted, data, name):
    model, condition = fitted(name), data.condition.test
    best = -truth(condition).log_prob(data.test).mean()
    gaussian = torch.distributions.MultivariateNormal(data.train.mean(0), data.train.mT.cov())
    blind = -gaussian.log_prob(data.test).mean()
    nll = -model.log_prob(data.test, condition).mean()
    assert nll - best < 0.2 * (blind - best)
    # Samples at one condition have its mean and covariance.
    row = {"u": 60.0, "k": "birch"}
    samples = model.sample(2000, row, torch.Generator().manual_seed(0))
    law = truth(np.array([[60.0, "birch"]], dtype=object))
    torch.testing.assert_close(samples.mean(0), law.mean[0], rtol=0, atol=0.15)
    torch.testing.assert_close(samples.mT.cov(), law.covariance_matrix[0], rtol=0, atol=0.15)


@pytest.mark.parametrize("name", ["jko-iflow", "flow-matching", "score-sde", "nsf"])
@torch.no_grad()
def test_rows_do_not_heed_the_conditions_of_others(fitted, data, name):
    model, x, condition = fitted(name), data.test[:6], data.condition.test[:6]
    # Float32, some 50 evaluations, each of which sums over a width of 32 to 48: 50 * 32 / 2 roundings of 6e-8 at worst.
    rounding = {"rtol": 1e-4, "atol": 1e-4}
    log_p = model.log_prob(x, condition)
    other = condition.copy()
    other[3:] = other[3:][::-1]
    torch.testing.assert_close(model.log_prob(x, other)[:3], log_p[:3], **rounding)
    assert not torch.allclose(model.log_prob(x, other)[3:], log_p[3:], atol=1e-2)
    alone = torch.cat([model.log_prob(x[i : i + 1], condition[i]) for i in range(6)])
    torch.testing.assert_close(alone, log_p, **rounding)
    # The grid was settled to lose 1e-7 of the mean square of the rows that settled it; a few others may lose more.
    lost = model.decode(model.encode(x, condition), condition) - x
    assert lost.square().mean() < 10 * 1e-7 * x.square().mean()
    # A batch of any shape, one row of conditions for each.
    shaped = model.log_prob(x.reshape(2, 3, 2), condition.reshape(2, 3, 2)).flatten()
    torch.testing.assert_close(shaped, log_p, **rounding)


@pytest.mark.parametrize("name", ["jko-iflow", "flow-matching", "maf"])
def test_a_saved_model_takes_the_same_conditions(fitted, data, name, tmp_path):
    model, x, condition = fitted(name), data.test[:20], data.condition.test[:20]
    model.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    assert again.encoding.config() == model.encoding.config()
    with torch.no_grad():
        assert torch.equal(again.log_prob(x, condition), model.log_prob(x, condition))
        samples = [m.sample(5, (45, "cedar"), torch.Generator().manual_seed(1)) for m in (model, again)]
    assert torch.equal(*samples)


@torch.no_grad()
def test_a_model_trained_with_dropout_does_without_and_can_be_guided(fitted, data, tmp_path):
    for name in ("flow-matching", "score-sde"):
        model = fitted(name)
        marginal = model.log_prob(data.test)
        gaussian = torch.distributions.MultivariateNormal(data.train.mean(0), data.train.mT.cov())
        assert marginal.mean() > gaussian.log_prob(data.test).mean() - 0.2
        x, condition = data.test[:5], data.condition.test[:5]
        conditional = model.log_prob(x, condition)
        for weight, expected in ((0.0, conditional), (-1.0, marginal[:5])):
            guided = model.replace(velocity=Guided(model.model.velocity, weight))
            torch.testing.assert_close(guided.log_prob(x, condition), expected, rtol=1e-4, atol=1e-4)
    guided = fitted("score-sde").replace(velocity=Guided(fitted("score-sde").model.velocity, 1.0))
    assert guided.sample(4, (50, "ash"), sampler="sde", steps=20).isfinite().all()
    guided.save(tmp_path / "guided")
    assert torch.equal(gf.load(tmp_path / "guided").log_prob(x, condition), guided.log_prob(x, condition))


def random_velocity(kind: str, dim: int, conditions: int, seed: int) -> gf.Velocity:
    cls = ResidualMLP if kind == "residual" else Shallow
    velocity = OptionalCondition(cls(dim, 6, condition_dim=conditions + 1)).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in velocity.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return velocity


@given(
    st.sampled_from(["shallow", "residual"]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2**31),
    st.floats(-1.5, 4),
    st.booleans(),
)
def test_guidance_agrees_with_automatic_differentiation(kind, dim, conditions, seed, weight, per_row):
    guided = Guided(random_velocity(kind, dim, conditions, seed), weight)
    generator = torch.Generator().manual_seed(seed)
    x, condition, tangents = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((4, dim), (4, conditions), (3, 4, dim))
    )
    condition = condition if per_row else condition[0]
    t = torch.tensor(0.3, dtype=torch.float64)
    v, divergence = guided.divergence(x, t, condition)
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(v, guided(x, t, condition), **close)
    torch.testing.assert_close(divergence, gf.Velocity.divergence(guided, x, t, condition)[1], **close)
    for method, default in ((guided.pushforward, gf.Velocity.pushforward), (guided.pullback, gf.Velocity.pullback)):
        torch.testing.assert_close(
            method(x, t, tangents, condition)[1], default(guided, x, t, tangents, condition)[1], **close
        )
    if per_row:
        inner = guided.velocity
        expected = (1 + weight) * inner(x, t, condition) - weight * inner(x, t)
        torch.testing.assert_close(v, expected, **close)


@pytest.mark.parametrize(
    "activation", ["silu", *(pytest.param(a, marks=pytest.mark.slow) for a in ("softplus", "tanh"))]
)
def test_the_fused_divergence_under_a_condition_has_right_first_and_second_derivatives(activation):
    velocity = Shallow(2, 4, condition_dim=2, activation=activation).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in velocity.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    parameters = dict(velocity.named_parameters())
    x, condition = (torch.randn(3, 2, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))

    class Divergence(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.velocity = velocity

        def forward(self, x, condition):
            return self.velocity.divergence(x, torch.tensor(0.3, dtype=torch.float64), condition)

    def both(x, condition, *values):
        named = {f"velocity.{name}": value for name, value in zip(parameters, values)}
        return torch.func.functional_call(Divergence(), named, (x, condition))

    for c in (condition, condition[0].detach().requires_grad_()):  # one for each row, one for all
        inputs = (x, c, *(value.detach().requires_grad_() for value in parameters.values()))
        assert torch.autograd.gradcheck(both, inputs)
        assert torch.autograd.gradgradcheck(both, inputs)


def test_gradients_reach_a_condition_in_the_units_of_the_user():
    rng = np.random.default_rng(0)
    u = rng.normal(5, 2, 300)
    rows = np.stack([u + rng.normal(size=300), u], -1)
    data = gf.data.load(rows, condition=1)
    model = gf.models.CNF(1, width=8, condition_dim=1).fit(data, iterations=10)
    model.double()
    condition = data.condition.test[:4].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda c: model.log_prob(data.test[:4], c), condition, rtol=1e-4)


def test_a_chain_takes_one_condition_for_all_rows_at_times_of_their_own():
    chain = Chain([Shallow(2, 4, condition_dim=1, interval=(float(i), i + 1.0)) for i in range(2)])
    for parameter in chain.parameters():
        parameter.data = torch.randn(parameter.shape)
    x, t, c = torch.randn(4, 2), torch.tensor([0.2, 1.5, 0.7, 1.1]), torch.tensor([0.3])
    torch.testing.assert_close(chain(x, t, c), chain(x, t, c.expand(4, 1)))


def test_ot_pairs_keep_their_conditions_and_noise_does_not_tell_of_them():
    generator = torch.Generator().manual_seed(0)
    c = torch.randint(0, 2, (256, 1), generator=generator).double()
    one_hot = torch.cat([c, 1 - c], -1)
    x = 4 * c + 0.1 * torch.randn(256, 1, generator=generator, dtype=torch.float64)
    z = torch.randn(256, 1, generator=generator, dtype=torch.float64)
    told = {}
    for name, condition in (("blind", None), ("heedful", one_hot)):
        rows, partners = coupling("ot")(x, z, generator, condition)
        assert torch.equal(partners.sort().values, torch.arange(256))
        assert torch.equal(x[rows] > 2, c[rows] > 0.5)
        told[name] = (z[partners][c[rows] > 0.5].mean() - z[partners][c[rows] < 0.5].mean()).abs()
    assert told["blind"] > 1  # the upper half of the noise goes with the upper cluster
    assert told["heedful"] < 0.3


def test_batches_keep_points_and_conditions_paired():
    x, c = torch.arange(100.0)[:, None], 2 * torch.arange(100.0)[:, None]
    seen = []

    class Model(torch.nn.Module):
        def next_stage(self, data, history):
            weight = torch.nn.Parameter(torch.zeros(1))

            def loss(batch, generator):
                seen.append(batch)
                return (weight**2).sum()

            rows = pair(data.train, data.train_condition)
            held = pair(data.validation, data.validation_condition)
            return (
                None
                if history
                else Stage("stage", [weight], rows, held, loss, lambda *_: torch.zeros(1), batch_size=16)
            )

    train(Model(), TrainingData(x, x[:1], c, c[:1]), Budget(iterations=7))
    points, conditions = (torch.cat(parts) for parts in zip(*map(unpair, seen)))
    assert torch.equal(2 * points, conditions)
    assert len(points[: 6 * 16].unique()) == 96


def test_a_share_of_the_conditions_is_struck_out():
    generator = torch.Generator().manual_seed(0)
    for count, share in ((4000, 0.25), (7, 0.1), (512, 0.7), (3, 0.0), (1, 0.5)):
        struck = torch.stack([strike_out(count, share, generator) for _ in range(400)]).double()
        assert struck.shape == (400, count)
        # Each draw has the share of the rows up to one, and every row its turn: five standard errors of 400 draws.
        assert (struck.sum(-1) - share * count).abs().max() < 1
        assert (struck.mean(0) - share).abs().max() <= 5 * (share * (1 - share) / 400) ** 0.5


@pytest.mark.parametrize("name", ["jko-iflow", "flow-matching"])
def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(data, name, tmp_path):
    cls, options, _ = MODELS[name]

    def fit(progress=None, checkpoint=None, source=data):
        torch.manual_seed(0)
        model = cls(2, condition_dim=data.condition_dim, **{**options, "width": 8})
        return model.fit(source, iterations=40, progress=progress, checkpoint=checkpoint)

    def interrupt(event):
        if event["fraction"] > 0.5:
            raise KeyboardInterrupt

    whole = fit()
    with pytest.raises(KeyboardInterrupt):
        fit(interrupt, tmp_path)
    other = gf.data.load(table().assign(u=lambda frame: frame.u[::-1].to_numpy()), condition=["u", "k"], name="trees")
    with pytest.raises(gf.InputError, match="a training with data"):
        fit(checkpoint=tmp_path, source=other)
    resumed = fit(checkpoint=tmp_path)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


# Data


def test_rows_and_conditions_stay_paired_and_are_compared_as_wholes():
    frame = table(500)
    twice = pd.concat([frame, frame[:50]])  # whole rows again
    same_x = frame[:30].assign(k="dogwood")  # the same x under another condition is no copy
    data = gf.data.load(pd.concat([twice, same_x]), condition=["k", "u"])
    assert data.columns == ["x", "y"]
    assert data.condition.columns == ["k", "u"]
    assert "50 rows of 580 repeated exactly" in data.remarks[0]
    known = {(row.x, row.y): [] for row in same_x.itertuples()} | {(row.x, row.y): [] for row in frame.itertuples()}
    for row in itertools.chain(frame.itertuples(), same_x.itertuples()):
        known[row.x, row.y].append((row.k, row.u))
    count = 0
    for part in ("train", "validation", "test"):
        for x, c in zip(getattr(data, part).tolist(), getattr(data.condition, part).tolist(), strict=True):
            assert tuple(c) in known[tuple(x)]
            count += 1
    assert count == 530


def test_atoms_are_those_of_the_modelled_columns():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=400), rng.integers(4, size=400), rng.normal(size=400)])
    data = gf.data.load(rows, condition="x2", atoms="drop")
    assert data.columns == ["x1", "x3"]
    assert data.remarks == []
    split = gf.data.load(rows)
    assert torch.equal(data.test, split.test[:, [0, 2]])
    assert torch.equal(data.condition.test, split.test[:, [1]])
    assert gf.data.load(rows, condition="x2", classes="x2").condition_dim == 4
    assert gf.data.load(rows, columns=["x3"], condition=1).columns == ["x3"]
    linear = gf.data.load(np.column_stack([rows, 2 * rows[:, 2]]), condition=2)
    assert "linear functions of the columns before them: x4" in linear.remarks[-1]


def test_digits_know_which_they_are():
    from sklearn.datasets import load_digits

    data = gf.data.load("digits", condition="digit")
    order = np.random.default_rng(0).permutation(1797)
    assert data.condition.test[:, 0].tolist() == [str(k) for k in load_digits().target[order][-180:]]
    assert torch.equal(data.test, gf.data.load("digits").test)
    assert data.condition_dim == 10
    vectors = data.condition.vectors(data.condition.test)
    assert torch.equal(data.condition.encoding(load_digits().target[order][-180:], (180,)), vectors)


def test_own_test_rows_have_the_classes_of_the_others(tmp_path):
    table(100, seed=1).to_csv(tmp_path / "test.csv", index=False)
    data = gf.data.load(table(300), test=tmp_path / "test.csv", condition=["k", "u"])
    assert data.condition.test[:, 0].tolist() == table(100, seed=1).k.tolist()
    odd = table(100, seed=1).replace("ash", "elm")
    with pytest.raises(gf.InputError, match="column 'k': a class that is none of ash, birch, cedar"):
        gf.data.load(table(300), test=odd, condition=["k", "u"])


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.sampled_from(["ash", "birch", "cedar"])), min_size=2, max_size=9))
def test_an_encoding_is_the_same_in_every_form(rows):
    encoding = gf.data.Encoding(["u", "k"], [[], ["ash", "birch", "cedar"]], [3.0, 0.0], [2.0, 1.0])
    array = np.array(rows, dtype=object)
    vectors = encoding(array, (len(rows),))
    assert torch.equal(vectors, encoding([list(row) for row in rows], (len(rows),)))
    assert torch.equal(vectors, encoding(pd.DataFrame(rows, columns=["u", "k"]), (len(rows),)))
    assert torch.equal(vectors, encoding({"k": array[:, 1], "u": array[:, 0]}, (len(rows),)))
    assert torch.equal(vectors[0], encoding(rows[0], (len(rows),)))
    assert (vectors[:, 1:].sum(-1) == 1).all()
    torch.testing.assert_close(2 * vectors[:, 0] + 3, torch.tensor([float(row[0]) for row in rows]).double())


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (None, "condition: none came; u, k (ash, birch, cedar), one row for all or one for each would do"),
        ([50.0], "condition: 1 column came; u, k"),
        ([50.0, "ash", 1], "condition: 3 columns came; u, k"),
        ([[50.0, "ash"]] * 2, "condition: 2 rows came for 5; one for all, or one for each would do"),
        ((50.0, "elm"), "condition: 'elm' came in column 'k'; ash, birch, cedar would do"),
        ([(50.0, "ash")] * 4 + [(50.0, "oak")], "condition: 'oak' came in column 'k', row 5; ash"),
        ((np.nan, "ash"), "condition: nan came in column 'u'; a finite number would do"),
        ([(1.0, "ash"), (np.inf, "ash")] + [(1.0, "ash")] * 3, "condition: inf came in column 'u', row 2"),
        (("old", "ash"), "condition: 'old' came in column 'u'; a number would do"),
        ({"u": 3.0}, "condition: no column 'k' came; u, k"),
    ],
)
def test_a_wrong_condition_gets_one_line(fitted, data, condition, message):
    model = fitted("maf")
    for call in (lambda: model.log_prob(data.test[:5], condition), lambda: model.sample(5, condition)):
        with pytest.raises(gf.InputError) as caught:
            call()
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)


def test_a_condition_that_does_not_belong_gets_one_line(data):
    plain = gf.baselines.MAF(2, width=8, transforms=1).fit("two-moons", iterations=2)
    with pytest.raises(gf.InputError, match="the model was trained without any; leave it out"):
        plain.log_prob(data.test, data.condition.test)
    with pytest.raises(gf.InputError, match="build it with condition_dim=4"):
        gf.models.CNF(2).fit(data, iterations=2)
    with pytest.raises(gf.InputError, match="build it with condition_dim=0"):
        gf.models.CNF(2, condition_dim=3).fit("two-moons", iterations=2)
    with pytest.raises(gf.InputError, match=r"condition_dropout: 1\.5 came"):
        gf.models.FlowMatching(2, condition_dim=3, condition_dropout=1.5)
    with pytest.raises(gf.InputError, match=r"condition_dropout: 0\.1 came without"):
        gf.baselines.ScoreSDE(2, condition_dropout=0.1)
    for options, message in (
        ({"condition": "age"}, "data: no column 'age'"),
        ({"condition": ["k", "k"]}, "asked for twice"),
        ({"condition": ["x", "u", "y", "k"]}, "every column is part of it"),
        ({"condition": ["k"], "classes": ["u"]}, "classes: 'u' is no column of the condition"),
    ):
        with pytest.raises(gf.InputError, match=message):
            gf.data.load(table(50), **options)
    with pytest.raises(gf.InputError, match="condition: it goes with a table"):
        gf.data.load("two-moons", condition="x")
    with pytest.raises(gf.InputError, match="trees is loaded already"):
        gf.data.load(data, condition="x")
    with pytest.raises(gf.InputError, match=r"column 'k' is missing in \d+ rows; missing=drop leaves them out"):
        gf.data.load(table(50).replace("ash", None), condition=["u", "k"])


# The command line


def run(words: str) -> int:
    return main(words.split())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    table(400).to_csv(folder / "trees.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = "fit trees.csv --condition u k --model maf --iterations 40 --set transforms=1 width=8 -o run"
        assert run(words) == 0
    return folder


def test_the_command_line_goes_round(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert run("sample run -n 50 --condition 45.5 ash -o one.csv") == 0
    one = pd.read_csv("one.csv")
    assert list(one.columns) == ["x", "u", "y", "k"]  # as in the table
    assert len(one) == 50
    assert set(one.k) == {"ash"}
    assert set(one.u) == {45.5}
    assert run("sample run -n 2 --condition-from trees.csv -o all.csv") == 0
    each = pd.read_csv("all.csv")
    assert each.k.tolist() == np.repeat(table(400).k, 2).tolist()
    # Columns are found by name, wherever they stand; a file of samples can be scored.
    each[["k", "y", "u", "x"]].to_csv("turned.csv", index=False)
    assert run("score run turned.csv -o scores.csv") == 0
    model = gf.load("run")
    with torch.no_grad():
        expected = model.log_prob(torch.tensor(each[["x", "y"]].to_numpy()), each[["u", "k"]])
    np.testing.assert_allclose(pd.read_csv("scores.csv").log_prob, expected, rtol=1e-4, atol=1e-4)
    capsys.readouterr()
    assert run("evaluate run --points 60 --json") == 0
    assert '"nll"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sample run -n 5 -o out.csv", "condition: none came; u, k (ash, birch, cedar)"),
        ("sample run -n 5 --condition 45 elm -o out.csv", "'elm' came in column 'k'; ash, birch, cedar would do"),
        ("sample run -n 5 --condition 45 -o out.csv", "condition: 45 came; a value for each of u, k"),
        ("sample run --condition 45 ash --condition-from trees.csv -o out.csv", "both came; give one of them"),
        ("sample run --condition 45 ash -o out.npy", "holds numbers only"),
        ("fit trees.csv --condition age --iterations 2 -o other", "no column 'age'"),
    ],
)
def test_wrong_words_get_one_line(place, monkeypatch, capsys, words, message):
    monkeypatch.chdir(place)
    assert run(words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_comparison_is_conditional(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(400).to_csv("trees.csv", index=False)
    board = gf.compare(
        "trees.csv", ["maf", "flow-matching"], iterations=20, threads=1, progress=False, points=60,
        condition=["u", "k"], options={"maf": {"transforms": 1, "width": 8}, "flow-matching": {"width": 8}},
    )  # fmt: skip
    assert board.frame["status"].tolist() == ["ok", "ok"]
    assert np.isfinite(board.frame[["nll", "w2", "mmd", "inversion_error"]].to_numpy(dtype=float)).all()
    board.report(tmp_path / "report.html")


def test_numbers_far_from_all_that_was_trained_on_are_remarked_on():
    rng = np.random.default_rng(0)
    table = {"size": rng.exponential(size=300), "price": rng.normal(size=300), "cut": list("ab") * 150}
    data = gf.data.load(pd.DataFrame(table), condition=["cut", "size"])
    model = gf.baselines.Gaussian(1, condition_dim=data.condition_dim).fit(data, iterations=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.sample(2, ["a", 9.0])
    with pytest.warns(gf.Remark, match=r"condition: size=-500 is \d+ deviations from the mean"):
        model.sample(2, [["a", 1.0], ["b", -500.0]])
