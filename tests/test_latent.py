"""A flow in a latent space: two parts, one training, samples that are pictures, and no density of rows."""

from __future__ import annotations

import dataclasses
import math
import struct

import numpy as np
import pandas as pd
import pytest
import torch

import genflow as gf
from genflow.cli import main
from genflow.errors import InputError
from genflow.fitted import Transformed
from genflow.models import ConvolutionalAutoencoder, LatentFlow

OPTIONS = {"latent": 4, "width": 48, "flow": {"blocks": 2, "width": 16}}


@pytest.fixture(scope="module")
def data():
    return gf.data.load("digits")


@pytest.fixture(scope="module")
def fitted(data):
    return LatentFlow(64, **OPTIONS).fit(data, iterations=80)


def rows_of(fitted, data):
    return fitted.preprocessor(data.train)[0].float()


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.slow
def test_the_autoencoder_comes_first_and_then_the_flow(fitted):
    kinds = [entry["kind"] for entry in fitted.history]
    assert kinds[0] == "autoencoder"
    assert "autoencoder" not in kinds[1:]
    assert len(kinds) > 2
    assert fitted.history[0]["steps"] == pytest.approx(0.3 * 80)
    assert sum(entry["steps"] for entry in fitted.history) == 80


def test_the_reconstruction_error_falls(data):
    options = {**OPTIONS, "share": 0.95, "flow": {"blocks": 1, "width": 8}}
    fitted = LatentFlow(64, **options).fit(data, iterations=200)
    x = rows_of(fitted, data)
    variance = x.var(0, correction=0).mean()  # the error of a constant
    assert variance.item() == pytest.approx(1)
    assert fitted.model.autoencoder.errors(x).mean() < 0.7 * variance
    entry = fitted.history[0]
    assert entry["curve"][-1][2] < 0.7 * entry["curve"][0][2]
    assert entry["reconstruction"] == pytest.approx(2 * entry["validation"], rel=1e-4)


@torch.no_grad()
def test_the_latents_of_the_training_rows_are_standardized(fitted, data):
    u = fitted.model.latents(rows_of(fitted, data))
    assert u.shape == (len(data.train), 4)
    assert u.mean(0).abs().max() < 1e-4
    assert (u.std(0, correction=0) - 1).abs().max() < 1e-4


@torch.no_grad()
def test_samples_are_pictures(fitted, data):
    assert data.images(fitted.sample(7, generator=generator())).shape == (7, 8, 8)
    x = fitted.sample((2, 3), generator=generator())
    assert x.shape == (2, 3, 64)
    assert x.isfinite().all()
    assert -5 < x.mean() < 15  # grey levels of digits: 0 to 17, 5 on average


@torch.no_grad()
def test_decoding_what_was_encoded_is_the_reconstruction(fitted, data):
    x = data.test[:20]
    model = fitted.model
    z = fitted.preprocessor(x)[0].float()
    reconstruction = model.autoencoder.decode(model.autoencoder.encode(z))
    torch.testing.assert_close(model.decode(model.encode(z)), reconstruction, rtol=0, atol=1e-2)


@torch.no_grad()
def test_rows_have_no_density_and_latents_have_one(fitted, data):
    assert not fitted.has_log_prob
    with pytest.raises(InputError, match="latent_log_prob gives that of their latents") as error:
        fitted.log_prob(data.test)
    assert "\n" not in str(error.value)
    log_p = fitted.latent_log_prob(data.test)
    assert log_p.shape == (len(data.test),)
    normal = -2 * math.log(2 * math.pi * math.e)  # of a normal law in 4 dimensions, at its best
    assert abs(log_p.mean().item() - normal) < 5  # over seeds, 2.1 ± 0.5: they are not normal


def test_a_model_of_rows_has_no_latent_density(data):
    other = Transformed(gf.models.FlowMatching(64), data.preprocessor)
    assert other.has_log_prob
    with pytest.raises(InputError, match="no latent space"):
        other.latent_log_prob(data.test)


@torch.no_grad()
def test_it_is_saved_and_loaded(fitted, data, tmp_path):
    fitted.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    assert torch.equal(again.sample(5, generator=generator()), fitted.sample(5, generator=generator()))
    torch.testing.assert_close(again.latent_log_prob(data.test), fitted.latent_log_prob(data.test))


@torch.no_grad()
@pytest.mark.slow
def test_the_solver_can_be_swapped(fitted, data):
    other = fitted.replace(integrator=gf.solvers.Adaptive("dopri5", rtol=1e-5, atol=1e-5))
    x, y = (model.sample(5, generator=generator()) for model in (fitted, other))
    assert not torch.equal(x, y)
    torch.testing.assert_close(x, y, rtol=0, atol=0.05)


class CutOff(Exception):
    pass


@pytest.fixture(scope="module")
def few(data):
    """A few of the digits."""
    train, validation, test = data.train[:160], data.train[160:180], data.train[180:200]
    return dataclasses.replace(data, name="few", train=train, validation=validation, test=test)


@pytest.fixture(scope="module")
def straight(few):
    """A training that was not cut off."""
    torch.manual_seed(1)
    return LatentFlow(64, **OPTIONS).fit(few, iterations=40, seed=3)


@pytest.mark.parametrize("after", [10, 60])
def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(few, straight, tmp_path, after):
    def stop(event):
        if event["fraction"] * 100 >= after:
            raise CutOff

    torch.manual_seed(1)
    with pytest.raises(CutOff):
        LatentFlow(64, **OPTIONS).fit(few, iterations=40, seed=3, progress=stop, checkpoint=tmp_path)
    resumed = LatentFlow(64, **OPTIONS).fit(few, iterations=40, seed=3, checkpoint=tmp_path)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert [entry["stage"] for entry in straight.history] == [entry["stage"] for entry in resumed.history]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latent": 64}, "latent: 64 came for rows of 64 columns"),
        ({"latent": 0}, "latent: 0 came"),
        ({"share": 1.0}, "share: 1.0 came"),
        ({"flow": {"blcks": 3}}, "blcks"),
        ({"picture": (8, 7)}, r"picture: \[8, 7\] came for rows of 64 columns; a product of 64 would do"),
        ({"picture": (0, 64)}, "picture, channels"),
        ({"flow": 3}, "flow: 3 came"),
    ],
)
def test_wrong_options_get_one_line(options, words):
    with pytest.raises(InputError, match=words) as error:
        LatentFlow(64, **options)
    assert "\n" not in str(error.value)


def test_a_table_keeps_its_own_preprocessing():
    data = gf.data.load("two-moons", rows=100)
    assert LatentFlow(2, latent=1).preprocessing(data) is data.preprocessor


def test_another_model_may_live_in_the_latent_space(data):
    model = LatentFlow(64, latent=3, width=16, flow=gf.models.FlowMatching(3)).fit(data, iterations=6)
    assert model.sample(2).shape == (2, 64)


# Pictures


@pytest.mark.parametrize("picture", [(1, 2), (5, 3), (8, 8), (28, 28)])
@pytest.mark.parametrize("batch", [(), (3,), (2, 4)])
def test_convolutions_take_pictures_of_any_size_and_batches_of_any_shape(picture, batch):
    dim = math.prod(picture)
    autoencoder = ConvolutionalAutoencoder(picture, latent=1, channels=2)
    x = torch.randn(*batch, dim, generator=generator())
    u = autoencoder.encode(x)
    assert u.shape == (*batch, 1)
    assert autoencoder.decode(u).shape == x.shape
    assert autoencoder.errors(x).shape == batch
    if batch:  # rows do not see each other
        torch.testing.assert_close(autoencoder.encode(x.reshape(-1, dim)[1]), u.reshape(-1, 1)[1])


def test_the_encoder_sees_a_shift_of_the_picture_as_a_shift():
    autoencoder = ConvolutionalAutoencoder((16, 16), latent=2, channels=3)
    dot = torch.zeros(1, 1, 16, 16)
    dot[..., 6, 6] = 1
    moved = dot.roll((4, 4), (-2, -1))  # two strides of two
    first, second = (torch.nn.Sequential(*autoencoder.shrinking)(x) for x in (dot, moved))
    # The first row and column are next to the padding, where there is no bias; a shift brings them to the second.
    torch.testing.assert_close(first.roll((1, 1), (-2, -1))[..., 2:, 2:], second[..., 2:, 2:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bars of seven by six pixels, upright or lying, as IDX files: a train of pictures that a few numbers describe."""
    home = tmp_path_factory.mktemp("bars")
    rng = np.random.default_rng(0)
    for part, count in (("train", 270), ("t10k", 30)):
        x = np.zeros((count, 7, 6), np.uint8)
        for picture in x:
            where, grey = rng.integers(5), rng.integers(150, 255)
            picture[(slice(None), where) if rng.random() < 0.5 else (where, slice(None))] = grey
        head = bytes([0, 0, 8, 3]) + struct.pack(">3I", *x.shape)
        (home / f"{part}-images-idx3-ubyte").write_bytes(head + x.tobytes())
    return home


def test_pictures_of_a_folder_are_learnt_by_convolutions_and_come_back_from_disk(folder, tmp_path):
    data = gf.data.load("fashion-mnist", folder=folder)
    options = {"picture": data.image_shape, "channels": 8, "latent": 4, "share": 0.9, "batch_size": 64}
    fitted = LatentFlow(42, **options, flow={"blocks": 1, "width": 8}).fit(data, iterations=220)
    entry = fitted.history[0]
    # Of a constant, the best of all: each pixel's variance, in the one scale of all pixels.
    constant = rows_of(fitted, data).var(0).mean()
    assert entry["reconstruction"] < 0.5 * constant
    assert data.images(fitted.sample(5)).shape == (5, 7, 6)
    fitted.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    assert isinstance(again.model.autoencoder, ConvolutionalAutoencoder)
    with torch.no_grad():
        assert torch.equal(again.sample(5, generator=generator()), fitted.sample(5, generator=generator()))


def test_the_picture_is_an_option_of_the_command_line(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = 'picture=[7,6] channels=2 latent=3 flow={"blocks":1,"width":8}'
    words = ["fit", str(folder), "--model", "latent", "--iterations", "8", "-o", "run", "--set", *options.split()]
    assert main(words) == 0
    assert isinstance(gf.load("run").model.autoencoder, ConvolutionalAutoencoder)


def test_fit_and_compare_say_that_there_is_no_density(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = 'latent=3 width=16 flow={"blocks":1,"width":8}'
    assert (
        main(["fit", "digits", "--model", "latent", "--iterations", "8", "-o", "run", "--set", *options.split()]) == 0
    )
    assert "NLL" not in capsys.readouterr().out
    assert main(["score", "run", "digits", "-o", "scores.csv"]) == 2
    assert "latent_log_prob" in capsys.readouterr().err
    assert not (tmp_path / "scores.csv").exists()
    assert main(["evaluate", "run", "--points", "40"]) == 0
    out = capsys.readouterr().out
    assert "w2" in out
    assert "no density" in out


@pytest.mark.slow
def test_a_comparison_leaves_the_likelihood_empty():
    options = {"latent": {"latent": 1, "width": 8, "flow": {"blocks": 1, "width": 8}}, "maf": {"transforms": 1}}
    data = gf.data.load("two-moons", rows=200)
    board = gf.compare(data, ["latent", "maf"], iterations=6, threads=1, options=options, points=20, progress=False)
    rows = board.frame.set_index("model")
    assert rows.loc["latent", "status"] == "ok; no NLL, since rows have no density under it"
    assert rows.loc["maf", "status"] == "ok"
    assert math.isnan(rows.loc["latent", "nll"])
    assert rows.loc["latent", ["w2", "c2st", "inversion_error", "parameters"]].notna().all()
    assert board.summary.set_index("model")["best"].to_dict() == {"maf": True, "latent": False}
    assert (board.folder / "report.html").is_file()
    assert (board.folder / "plots" / "leaderboard.png").is_file()
    assert "no NLL" in str(board)


def test_a_comparison_without_any_likelihood_has_a_report_too():
    options = {"latent": {"latent": 3, "width": 8, "share": 0.9, "flow": {"blocks": 1, "width": 8}}}
    board = gf.compare("digits", "latent", iterations=5, threads=1, options=options, points=20, progress=False)
    assert not (board.folder / "plots" / "leaderboard.png").exists()
    assert "at a glance" not in (board.folder / "report.html").read_text()


@pytest.mark.parametrize(("dim", "latent"), [(2, 1), (5, 4), (8, 7), (9, 8), (64, 8)])
def test_the_latent_space_is_smaller_than_that_of_the_rows_by_default(dim, latent):
    assert LatentFlow(dim, width=4, flow={"blocks": 1, "width": 4}).latent == latent


def test_one_column_has_no_latent_space():
    with pytest.raises(InputError, match="rows of 1 column"):
        LatentFlow(1)


def test_two_columns_are_fitted_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = 'width=8 flow={"blocks":1,"width":4}'
    words = ["fit", "two-moons", "--model", "latent", "--iterations", "6", "-o", "run", "--set", *options.split()]
    assert main(words) == 0
    assert gf.load("run").model.latent == 1


def test_samples_follow_their_condition(tmp_path):
    # Rows on a line, x = u (1, 2, -1) + noise, with u ~ N(4 k, 1) under class k: one latent dimension holds it.
    rng = np.random.default_rng(0)
    k = rng.integers(0, 2, 3000)
    u = rng.normal(4.0 * k, 1.0)
    rows = u[:, None] * np.array([1.0, 2.0, -1.0]) + 0.05 * rng.normal(size=(3000, 3))
    frame = pd.DataFrame(rows, columns=["x", "y", "z"]).assign(kind=np.array(["low", "high"])[k])
    data = gf.data.load(frame, condition="kind")
    torch.manual_seed(0)
    flow = gf.models.FlowMatching(1, width=32, condition_dim=data.condition_dim)
    model = LatentFlow(3, latent=1, width=32, flow=flow, condition_dim=data.condition_dim).fit(data, iterations=700)
    with torch.no_grad():
        low, high = (model.sample(1000, kind, generator()) for kind in ("low", "high"))
    # The means are 4 (1, 2, -1) apart, each with a standard error of |a| sqrt(2 / 1000) = 0.045 |a| of the samples; the
    # training's own error, over seeds, stays below a tenth of the distance.
    apart = (high - low).mean(0)
    torch.testing.assert_close(apart, torch.tensor([4.0, 8.0, -4.0]).double(), rtol=0.2, atol=0)
    with pytest.raises(InputError, match="condition: none came"):
        model.sample(3)
    model.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    with torch.no_grad():
        assert torch.equal(again.sample(5, "low", generator()), model.sample(5, "low", generator()))
        x, kinds = data.test[:4], data.condition.test[:4]
        assert torch.equal(again.latent_log_prob(x, kinds), model.latent_log_prob(x, kinds))


def test_a_flow_of_another_condition_is_refused():
    with pytest.raises(InputError, match="condition_dim=0 came for condition_dim=2"):
        LatentFlow(3, latent=1, flow=gf.models.FlowMatching(1, width=4), condition_dim=2)
