"""Pictures: folders of them as data, a U-Net as the network of every model, classes, guidance, a grid by class."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from PIL import Image

import genflow as gf
from genflow.cli import main
from genflow.data import load
from genflow.errors import InputError
from genflow.naming.options import build, with_network
from genflow.studies.reporting.drawing import compose
from genflow.studies.reporting.mosaics import Mosaic, mosaic, mosaics
from genflow.studies.reporting.plot import Panel, Picture, Row
from genflow.testing import check_velocity
from genflow.velocities import Flattened, NullCondition, UNet

SMALL = "unet,width=4,groups=2,levels=1,attention=false"
CLASSES = ("ash", "elm")


def shades(count: int, seed: int = 0, *channels: int) -> np.ndarray:
    """Pictures of 4 by 6 pixels, bytes."""
    return np.random.default_rng(seed).integers(256, size=(count, 4, 6, *channels), dtype=np.uint8)


def save(folder, pictures: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for k, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{k:03}.png")


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A folder of coloured pictures in two sub-folders, the second one's darker in the mean."""
    folder = tmp_path_factory.mktemp("pictures") / "trees"
    for k, name in enumerate(CLASSES):
        save(folder / name, shades(25, k, 3) // (1 + k))
    return folder


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    """A folder of IDX files with labels."""
    folder = tmp_path_factory.mktemp("idx")
    for part, count in (("train", 40), ("t10k", 12)):
        for what, array in (("images-idx3", shades(count)), ("labels-idx1", np.arange(count, dtype=np.uint8) % 3)):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (folder / f"{part}-{what}-ubyte").write_bytes(head + array.tobytes())
    return folder


# Data


def test_every_data_set_says_the_shape_of_its_pictures(trees, clothes):
    assert load("digits").event_shape == (1, 8, 8)
    assert load(clothes).event_shape == (1, 4, 6)
    assert load(trees).event_shape == (3, 4, 6)
    assert load("two-moons", rows=20).event_shape is None
    assert load("photo-patches", rows=20).event_shape is None  # their last pixel is left out


def test_a_folder_of_pictures_is_a_data_set(tmp_path):
    pictures = shades(20)
    save(tmp_path / "grey", pictures)
    data = load(tmp_path / "grey")
    order = np.random.default_rng(0).permutation(20)
    assert (data.name, data.event_shape, data.condition) == ("grey", (1, 4, 6), None)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [16, 2, 2]
    assert np.array_equal(data.images(data.train).floor().numpy(), pictures[order][:16])
    assert len(load(tmp_path / "grey", rows=10).train) == 8
    save(tmp_path / "more", shades(3, seed=1))
    held_out = load(tmp_path / "grey", test=tmp_path / "more")
    assert np.array_equal(held_out.images(held_out.test).floor().numpy(), shades(3, seed=1))
    assert len(held_out.train) + len(held_out.validation) == 20
    with pytest.raises(gf.InputError, match="test: the very rows that are trained on came"):
        load(tmp_path / "grey", test=tmp_path / "more" / ".." / "grey")


def test_colours_stand_channel_by_channel_and_sub_folders_are_classes(trees):
    data = load(trees, condition="label")
    known = {name: {picture.tobytes() for picture in shades(25, k, 3) // (1 + k)} for k, name in enumerate(CLASSES)}
    assert data.columns[:: 4 * 6] == ["red_0_0", "green_0_0", "blue_0_0"]
    assert data.images(data.train).shape == (40, 3, 4, 6)
    levels = data.images(data.train).floor().numpy().astype(np.uint8)
    for picture, (name,) in zip(np.moveaxis(levels, 1, -1), data.condition.train, strict=True):
        assert picture.tobytes() in known[name]
    assert data.condition_dim == len(CLASSES)
    assert any("condition=label" in remark for remark in load(trees).remarks)


def test_labels_of_idx_files_and_of_digits_are_conditions(clothes):
    data = load(clothes, condition="label")
    assert data.condition.test[:, 0].tolist() == [str(k % 3) for k in range(12)]
    few = load("mnist", folder=clothes, condition="label", rows=26)  # labels stay with their pictures
    whole = {picture.tobytes(): str(k % 3) for k, picture in enumerate(shades(12))}
    pictures = few.images(few.test).floor().numpy().astype(np.uint8)
    assert [whole[picture.tobytes()] for picture in pictures] == few.condition.test[:, 0].tolist()
    assert load("digits", condition="label").condition.columns == ["label"]


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (lambda f: Image.fromarray(shades(1, 0, 3)[0, :3]).save(f / "ash" / "x.png"), {}, "6 x 3 pixels came"),
        (lambda f: (f / "ash" / "x.png").write_bytes(b"no"), {}, "can't be read as a picture"),
        (lambda f: Image.fromarray(np.zeros((4, 6), np.uint16)).save(f / "ash" / "x.png"), {}, "more than 8 bits"),
        (lambda f: Image.fromarray(shades(1)[0]).save(f / "x.png"), {}, "in its sub-folder ash"),
        (lambda f: None, {"condition": "age"}, "'label', the class of a picture"),
        (lambda f: None, {"columns": ["red_0_0"]}, "columns: it goes with a table"),
        (lambda f: None, {"test": np.zeros((3, 72))}, "test: a ndarray came"),
    ],
)
def test_folders_that_are_no_data_set_get_one_line(tmp_path, spoil, options, words):
    save(tmp_path / "ash", shades(10, 0, 3))
    spoil(tmp_path)
    with pytest.raises(InputError, match=words) as error:
        load(tmp_path, **options)
    assert "\n" not in str(error.value)


def test_few_pictures_and_classes_that_are_not_there_get_one_line(tmp_path, trees):
    save(tmp_path / "few", shades(9))
    save(tmp_path / "flat", shades(10))
    save(tmp_path / "oak" / "oak", shades(3, 0, 3))
    with pytest.raises(InputError, match="9 pictures came; at least 10"):
        load(tmp_path / "few")
    with pytest.raises(InputError, match=r"condition: .*no sub-folders"):
        load(tmp_path / "flat", condition="label")
    with pytest.raises(InputError, match="the sub-folder 'oak'"):
        load(trees, condition="label", test=tmp_path / "oak")


# The network


def unet(**options):
    return UNet((2, 2, 4), width=4, groups=2, **options)


@pytest.mark.parametrize("wrap", [lambda field: field, Flattened, lambda field: NullCondition(Flattened(field))])
def test_a_conditional_unet_keeps_its_promises(wrap):
    torch.manual_seed(0)
    check_velocity(wrap(unet(condition_dim=3)), condition=torch.tensor([0.0, 1.0, -0.5]))


def test_rows_have_the_density_of_their_pictures():
    """Reshaping changes no trace, nor any step of the solver."""
    torch.manual_seed(0)
    field = unet(condition_dim=2).double()
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    x, c = torch.randn(5, 2, 2, 4, dtype=torch.float64), torch.eye(2, dtype=torch.float64)[[0, 1, 1, 0, 1]]
    of_pictures, of_rows = gf.Flow(field, base=gf.StandardNormal((2, 2, 4))), gf.Flow(Flattened(field))
    expected = of_pictures.log_prob(x, c)
    assert expected.std() > 0
    assert torch.allclose(of_rows.log_prob(x.flatten(1), c), expected, rtol=1e-12)


MODELS = ["flow-matching", "jko-iflow", "cnf", "score-sde"]


def fitted_by(model: str, data, out, *words: str):
    few = ["--iterations", "4", "--evaluation-budget", "3s", "--set", "batch_size=16", "steps=2"]
    assert main(["fit", str(data), "--model", model, "--velocity", SMALL, "-o", str(out), *few, *words]) == 0
    return gf.load(out)


@pytest.mark.parametrize("model", MODELS)
def test_a_unet_is_the_network_of_every_model(model, trees, tmp_path, capsys):
    few = ["--set", "blocks=1"] if model == "jko-iflow" else []
    fitted = fitted_by(model, trees, tmp_path / "run", "--condition", "label", *few)
    networks = [module for module in fitted.modules() if isinstance(module, UNet)]
    assert networks
    assert {network.event_shape for network in networks} == {(3, 4, 6)}
    rows, labels = load(trees, condition="label").test, load(trees, condition="label").condition.test
    log_p = fitted.log_prob(rows, labels, torch.Generator().manual_seed(0))
    assert log_p.isfinite().all()
    assert fitted.sample(3, "elm").shape == (3, 72)
    fitted.save(tmp_path / "again")
    again = gf.load(tmp_path / "again").log_prob(rows, labels, torch.Generator().manual_seed(0))
    assert torch.equal(log_p, again)
    assert main(["score", str(tmp_path / "run"), str(trees), "-o", str(tmp_path / "scores.csv")]) == 0
    scores = np.genfromtxt(tmp_path / "scores.csv", delimiter=",", names=True)["log_prob"]
    assert np.array_equal(scores, log_p.double().numpy())


@pytest.mark.parametrize("name", ["digits", "idx"])
def test_so_it_is_of_digits_and_idx_files(name, clothes, tmp_path, capsys):
    fitted = fitted_by("flow-matching", clothes if name == "idx" else name, tmp_path / "run")
    (network,) = (module for module in fitted.modules() if isinstance(module, UNet))
    assert network.event_shape == ((1, 4, 6) if name == "idx" else (1, 8, 8))
    assert fitted.sample(2).isfinite().all()


def test_a_network_of_pictures_is_for_pictures_and_for_models_of_a_velocity():
    with pytest.raises(InputError, match="velocity: unet is for pictures, the data are rows of 2 columns"):
        build(gf.models.FlowMatching, 2, {"velocity": "unet"})
    with pytest.raises(InputError, match="velocity: nsf is made of no velocity"):
        with_network(gf.baselines.NSF, {}, "unet")
    with pytest.raises(InputError, match="none of the models is made of a velocity"):
        gf.compare("two-moons", ["nsf"], velocity="shallow", iterations=1)
    network = Flattened(unet())
    flow = gf.velocities.ProbabilityFlow(network, gf.schedulers.VariancePreserving())
    with pytest.raises(InputError, match="predictor, velocity: both came"):
        gf.baselines.ScoreSDE(16, predictor=network, velocity=flow)
    names = {model: next(iter(with_network(gf.naming.registry.lookup("model", model), {}, "unet"))) for model in MODELS}
    assert names == dict(zip(MODELS, ["velocity", "block", "velocity", "predictor"], strict=True))


def test_a_random_probe_is_the_default_of_pictures_alone():
    model = build(gf.models.CNF, 16, {"velocity": SMALL}, 0, (1, 4, 4))
    assert type(model.divergence) is gf.divergences.Hutchinson
    exact = build(gf.models.CNF, 16, {"velocity": SMALL, "divergence": "exact"}, 0, (1, 4, 4))
    assert type(exact.divergence) is gf.divergences.Exact
    assert type(build(gf.models.CNF, 16, {"velocity": "residual-mlp"}).divergence) is gf.divergences.Exact


# Guidance


@pytest.mark.parametrize("model", ["flow-matching", "score-sde"])
def test_samples_under_a_class_with_guidance(model, trees, tmp_path, capsys):
    fitted = fitted_by(model, trees, tmp_path / "run", "--condition", "label", "--set", "condition_dropout=0.2")
    # The network begins at zero whatever the class, and its best weights may be those: here it is anything else.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in fitted.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    fitted.save(tmp_path / "heard")
    words = f"sample {tmp_path / 'heard'} -n 3 --condition label=elm --guidance 2 -o {tmp_path / 'elms.csv'}"
    assert main(words.split()) == 0
    rows = np.genfromtxt(tmp_path / "elms.csv", delimiter=",", skip_header=1, usecols=range(72))

    def drawn(source):
        return source.sample(3, "elm", torch.Generator().manual_seed(0))

    assert np.allclose(rows, drawn(fitted.guided(2.0)).numpy())
    assert torch.allclose(drawn(fitted.guided(0.0)), drawn(fitted))
    assert not torch.allclose(drawn(fitted.guided(2.0)), drawn(fitted))


def test_guidance_of_what_can_not_be_guided_gets_one_line(trees, tmp_path, capsys):
    run = fitted_by("flow-matching", trees, tmp_path / "run", "--condition", "label")
    with pytest.raises(InputError, match="guidance: the model has not learned to do without"):
        run.guided(1.0)
    with pytest.raises(InputError, match="guidance: NSF has no velocity"):
        gf.baselines.NSF(2, transforms=1, width=8).fit("two-moons", iterations=1).guided(1.0)
    assert main(f"sample {tmp_path / 'run'} -n 3 --guidance 2 -o {tmp_path / 'x.csv'}".split()) == 2
    assert "--guidance: it came without a condition" in capsys.readouterr().err


# How they are shown


def test_a_line_of_the_mosaic_for_each_class():
    """Pictures that are as bright as their class says."""
    names = np.array(["2", "10", "1"] * 9)
    flat = np.repeat(names.astype(float)[:, None], 4, 1)
    scarce = Mosaic("model", "b", flat[:4], names[:4])
    figure = compose(mosaics([Mosaic("data", "k", flat, names), scarce], (2, 2), flat))
    full, few = (np.asarray(axis.images[0].get_array().filled(np.nan)) for axis in figure.axes)
    for line, name in enumerate(["1", "2", "10"]):
        assert np.nanmin(full[3 * line : 3 * line + 2]) == np.nanmax(full[3 * line : 3 * line + 2]) == float(name)
        assert set(few[3 * line, ~np.isnan(few[3 * line])]) == {float(name)}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["1", "2", "10"]
    without = compose(mosaics([Mosaic("data", "k", flat, names), Mosaic("model", "b", flat)], (2, 2), flat))
    assert not without.axes[0].get_yticklabels()


def test_a_picture_on_paper_says_what_its_rows_have_in_common():
    """Panels of two rows may have the same titles, as those of two solvers. Where a row wraps, its name stands once."""
    panels = [Panel("4 steps", lambda axis: axis.plot([0, 1]), note="NFE 4")] * 12
    figure = compose(Picture([Row(panels[:1]), Row(panels, "rk4"), Row(panels[:2], "heun")], (1.75, 1.75)))
    written = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert [text for text in written if text not in ("", "NFE 4")] == ["rk4", "heun"]


def test_colours_of_a_mosaic_are_its_last_axis():
    picture = np.arange(12.0).reshape(3, 2, 2)
    canvas = mosaic([picture.ravel(), None], (2, 2), 1, 2)
    assert np.array_equal(canvas[:, :2], np.moveaxis(picture, 0, -1))
    assert np.isnan(canvas[:, 2:]).all()


@pytest.mark.slow
def test_a_report_on_pictures_has_them_by_class(trees, tmp_path):
    board = gf.compare(
        str(trees), ["flow-matching", "nsf"], velocity=SMALL, condition="label", iterations=3, points=20, evaluation=5,
        options={"nsf": {"transforms": 1, "width": 8}, "flow-matching": {"steps": 2}}, out=tmp_path / "board",
        progress=False,
    )  # fmt: skip
    assert (board.folder / "plots" / "trees-samples.png").exists()
    parts, _ = board.data("trees")
    arrays = board.arrays("trees", "nsf")
    assert len(arrays["drawn_at"]) == len(arrays["samples"])
    assert set(parts["condition.test.0"][arrays["drawn_at"]]) == set(CLASSES)
    assert "Each line is a class" in (board.folder / "report.html").read_text(encoding="utf-8")
