"""The base: whatever law it is, the trainings draw their noise from it, and its events are those of the flow."""

from __future__ import annotations

import math

import pytest
import torch

import genflow as gf
from genflow.models.jko_iflow import diffuse
from genflow.training import TrainingData


class Two(gf.Base):
    """A mixture of two normal laws of deviation s, at ±m in every entry."""

    def __init__(self, dim=2, m=4.0, s=0.5):
        super().__init__()
        self.shape, self.m, self.s = (dim,), m, s

    def sample(self, batch, generator=None, *, dtype=torch.float32, device=None):
        options = {"generator": generator, "dtype": dtype, "device": device if generator is None else generator.device}
        sign = 2 * (torch.rand(*batch, 1, **options) < 0.5).to(dtype) - 1
        return (self.m * sign + self.s * torch.randn(*batch, *self.shape, **options)).to(device)

    def log_prob(self, z):
        parts = [-((z - m) ** 2).sum(-1) / (2 * self.s**2) for m in (self.m, -self.m)]
        return torch.logsumexp(torch.stack(parts), 0) - math.log(2) - self.norm()

    def norm(self):
        return self.shape[0] * math.log(self.s * math.sqrt(2 * math.pi))


class Shifted(gf.StandardNormal):
    """N(5, σ²): derived from a normal law around zero, and another."""

    def sample(self, batch, generator=None, *, dtype=torch.float32, device=None):
        return super().sample(batch, generator, dtype=dtype, device=device) + 5

    def log_prob(self, z):
        return super().log_prob(z - 5)


BASES = {"N(0, 9)": gf.StandardNormal(2, 3.0), "shifted": Shifted(2), "mixture": Two()}


class Still(gf.Velocity):
    """A field that stands still, with a parameter that changes nothing: its matching loss is E|z - x|²."""

    dim = 2

    def __init__(self, interval=(0.0, 1.0)):
        super().__init__()
        self.interval, self.weight = tuple(interval), torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, t, condition=None):
        return self.weight * x


def rows(count=20_000):
    generator = torch.Generator().manual_seed(77)
    return TrainingData(*(1 + 0.5 * torch.randn(n, 2, generator=generator) for n in (count, 2000)))


def near(losses, expected):
    """Within five standard errors of their mean."""
    assert (losses.mean() - expected).abs() < 5 * losses.std() / math.sqrt(len(losses))


def moments(base):
    """Mean and mean square of a base, by many draws."""
    z = base.sample((400_000,), torch.Generator().manual_seed(1), dtype=torch.float64)
    return z.mean(0), z.square().sum(-1).mean()


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("model", [gf.models.FlowMatching, gf.models.CNF])
def test_matching_goes_to_draws_from_the_base(model, name):
    """E|z - x|² = E|z|² + E|x|² - 2 E z · E x, for x ~ N(1, 1/4) in the plane: E|x|² = 2.5."""
    data, base = rows(), BASES[name]
    stage = model(2, velocity=Still(), base=base, **({"whiten": False} if model is gf.models.CNF else {})).next_stage(
        data, []
    )
    mean, square = moments(base)
    for losses in (
        stage.validate(data.train, torch.Generator().manual_seed(0)),
        torch.stack(
            [stage.loss(part, torch.Generator().manual_seed(i)) for i, part in enumerate(data.train.split(512))]
        ),
    ):
        near(losses.detach().double(), square + 2.5 - 2 * mean.sum())


def test_minibatch_couplings_pair_with_the_base():
    model = gf.models.FlowMatching(2, coupling="ot", velocity=Still(), base=BASES["shifted"])
    data = rows()
    losses = [
        model.next_stage(data, []).loss(data.train[i : i + 128], torch.Generator().manual_seed(i)).item()
        for i in range(0, 20_000, 1280)
    ]
    # The optimal coupling of N(1, 1/4) and N(5, 1) in the plane costs 2 (4² + (1 - 1/2)²); a batch costs a little more.
    assert 32.5 - 1 < sum(losses) / len(losses) < 32.5 + 3


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("k", [0, 1])
def test_local_matching_goes_towards_the_base(name, k):
    """Steps h towards N(0, σ²) contract by 1 / (1 + h/σ²); towards another base, along straight lines."""
    data, base = rows(), BASES[name]
    model = gf.models.JKOiFlow(2, blocks=2, first=0.6, growth=2.0, base=base, objective="matching", block=Still())
    if k:
        model.velocity.append(Still((0.0, 0.6)))
    stage = model.next_stage(data, [{"kind": "local matching"}] * k)
    losses = stage.validate(data.train, torch.Generator().manual_seed(0)).detach().double()
    mean, square = moments(base)
    if name == "N(0, 9)":
        a, b = (math.prod(1 / (1 + h / 9) for h in (0.6, 1.2)[:n]) for n in (k, k + 1))
        step = b / a  # |(e^-γ - 1) x_l + σ (1 - e^-2γ)^½ z|², x_l of the mean square a² E|x|² + (1 - a²) E|z|²
        expected = (1 - step) ** 2 * (a**2 * 2.5 + (1 - a**2) * square) + (1 - step**2) * square
    else:
        a, b = (math.prod(1 / (1 + h) for h in (0.6, 1.2)[:n]) for n in (k, k + 1))
        expected = (a - b) ** 2 * (square + 2.5 - 2 * mean.sum())
    near(losses, expected)


def test_the_ornstein_uhlenbeck_flow_keeps_its_base():
    z = 3 * torch.randn(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for gamma in (0.1, 1.0, math.inf):
        x = diffuse(z, gamma, torch.Generator().manual_seed(1), 3.0)
        assert x.std().item() == pytest.approx(3, abs=5 * 3 / math.sqrt(2e5))
        correlation = (x * z).mean().item() / 9
        assert correlation == pytest.approx(math.exp(-gamma), abs=5 / math.sqrt(1e5))


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(
    ("model", "options"),
    [
        (gf.models.FlowMatching, {"width": 48}),
        (gf.models.JKOiFlow, {"width": 32, "blocks": 2, "objective": "matching", "free_block": True, "joint": 0.0}),
        (gf.models.CNF, {"width": 32, "matching": 0.9}),
    ],
    ids=["flow matching", "jko-iflow", "cnf"],
)
@pytest.mark.slow
def test_a_model_is_trained_for_its_base(model, options, name):
    """Rows of N(m, S): with any base, the negative log-likelihood is near the entropy, 2.83 - 0.5 log 1.96."""
    generator = torch.Generator().manual_seed(0)
    root = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)
    x = 3 + torch.randn(3000, 2, generator=generator, dtype=torch.float64) @ root.mT
    data = gf.data.load(x)
    torch.manual_seed(0)
    base = Two(2, 1.5, 0.7) if name == "mixture" else BASES[name]  # farther apart, no smooth map gets there in a moment
    fitted = model(2, base=base, **options).fit(data, iterations=400)
    law = torch.distributions.MultivariateNormal(torch.full((2,), 3.0).double(), scale_tril=root)
    with torch.no_grad():
        gap = (law.log_prob(data.test) - fitted.log_prob(data.test)).mean().item()
    # One that was trained to end in N(0, 1) is several nats off.
    assert -0.1 < gap < 0.4


# Events and laws that do not fit


@pytest.mark.parametrize("model", [gf.models.FlowMatching, gf.models.CNF, gf.models.JKOiFlow, gf.baselines.ScoreSDE])
def test_a_base_of_other_events_is_one_line(model):
    for base in (gf.StandardNormal(3), gf.StandardNormal((1, 2)), Two(5)):
        with pytest.raises(gf.InputError, match="base: ") as caught:
            model(2, base=base)
        assert "\n" not in str(caught.value)
    with pytest.raises(gf.InputError, match=r"base: 1\.0 came"):
        gf.Flow(Still(), base=1.0)
    with pytest.raises(gf.InputError, match="scale: -1 came"):
        gf.StandardNormal(2, scale=-1)


def test_a_base_that_does_not_say_its_shape_is_told_by_its_draws():
    class Silent(Two):
        def __init__(self):
            super().__init__(3)
            self.shape = None

        def sample(self, batch, generator=None, *, dtype=torch.float32, device=None):
            return torch.zeros(*batch, 3)

    with pytest.raises(gf.InputError, match=r"base: its draws for .* rows have the shape \(.*, 3\)"):
        gf.models.FlowMatching(2, width=8, base=Silent()).fit("two-moons", iterations=2)


def test_a_diffusion_ends_where_its_noise_does():
    assert gf.baselines.ScoreSDE(2, width=8).base.scale == 1
    assert gf.baselines.ScoreSDE(2, width=8, base=gf.StandardNormal(2)).base.scale == 1
    for base in (gf.StandardNormal(2, 3.0), Two(), Shifted(2)):
        with pytest.raises(gf.InputError, match=r"ends in N\(0, 1²\); leave it out, or give StandardNormal\(2\)"):
            gf.baselines.ScoreSDE(2, width=8, base=base)

    class Exploding(gf.NoiseSchedule):
        """x_t = x_0 + t ε, to a deviation of 20."""

        t_min, t_max = 1e-3, 20.0

        def alpha(self, t):
            return torch.ones_like(t)

        def sigma(self, t):
            return t

        def alpha_dot(self, t):
            return torch.zeros_like(t)

        def sigma_dot(self, t):
            return torch.ones_like(t)

        def time_of(self, log_snr):
            return (-log_snr / 2).exp()

    assert gf.baselines.ScoreSDE(2, width=8, noise=Exploding()).base.scale == pytest.approx(math.hypot(1, 20))
    given = gf.baselines.ScoreSDE(2, width=8, noise=Exploding(), base=gf.StandardNormal(2, 20.0))
    assert given.base.scale == 20
    with pytest.raises(gf.InputError, match="of scale 1 came"):
        gf.baselines.ScoreSDE(2, width=8, noise=Exploding(), base=gf.StandardNormal(2))


def test_a_base_of_ones_own_is_saved_with_its_model(tmp_path):
    model = gf.models.FlowMatching(2, width=8, base=gf.StandardNormal(2, 3.0))
    model.save(tmp_path / "model")
    x = torch.randn(4, 2)
    with torch.no_grad():
        assert torch.equal(gf.load(tmp_path / "model").log_prob(x), model.log_prob(x))
    # The name that older checkpoints have.
    written = tmp_path / "model" / "model.json"
    text = written.read_text()
    assert "genflow.base:StandardNormal" in text
    written.write_text(text.replace("genflow.base:StandardNormal", "genflow.flow:StandardNormal"))
    with torch.no_grad():
        assert torch.equal(gf.load(tmp_path / "model").log_prob(x), model.log_prob(x))
