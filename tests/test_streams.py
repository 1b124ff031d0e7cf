"""Training rows that are read while a model trains: what comes, in which order, and what never does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset as Items
from torch.utils.data import IterableDataset

import genflow as gf
from genflow import InputError
from genflow.cli import main
from genflow.data import stream
from genflow.data.conditions import class_name


class Numbered(Items):
    """Row i begins with i; the label is its remainder by three."""

    def __init__(self, count=500, labelled=False):
        self.count, self.labelled = count, labelled

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        row = torch.tensor([i + 0.5, np.sin(i)])
        return (row, i % 3) if self.labelled else row


class Line(IterableDataset):
    """The same, one after the other."""

    def __init__(self, count=500):
        self.items = Numbered(count)

    def __iter__(self):
        return (self.items[i] for i in range(self.items.count))


class Pictures(Items):
    def __len__(self):
        return 300

    def __getitem__(self, i):
        return np.random.default_rng(i).integers(256, size=(3, 2, 4), dtype=np.uint8), i % 2


def firsts(data, batches, size=50, seed=1, skip=0):
    found = itertools.islice(data.stream.batches(size, seed, skip), batches)
    return [x[:, 0].sub(0.5).round().long().tolist() for x, _ in found]


def kept(data):
    return {round(row[0].item() - 0.5) for part in (data.validation, data.test) for row in part}


@pytest.mark.parametrize("workers", [0, 2])
def test_every_row_comes_once_in_a_pass_and_none_that_is_held_out(workers):
    data = stream(Numbered(), sample=100, workers=workers)
    assert (len(data.train), len(data.validation), len(data.test), data.stream.count) == (100, 50, 50, 400)
    first, second = flat(firsts(data, 8)), flat(firsts(data, 8, skip=8))
    for found in (first, second):
        assert sorted(found) == sorted(set(range(500)) - kept(data))
    assert first != second


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


def test_an_order_is_that_of_its_seed_wherever_it_is_taken_up():
    data = stream(Numbered(), sample=100)
    whole = firsts(data, 20)
    assert firsts(data, 20) == whole
    assert firsts(data, 9, skip=11) == whole[11:]  # in the middle of the second pass
    assert firsts(data, 20, seed=2) != whole


def test_an_iterable_comes_in_its_own_order_again_and_again():
    data = stream(Line(), sample=100)
    assert data.stream.count is None
    rest = [i for i in range(500) if i not in kept(data)]
    found = flat(firsts(data, 14))
    assert found == (rest + rest)[:700]
    assert firsts(data, 3, skip=11) == firsts(data, 14)[11:]


def test_rows_that_repeat_keep_their_shares():
    """Those of an iterable are held out by their place: a value that many rows have is trained on all the same."""

    class Coins(IterableDataset):
        def __iter__(self):
            rng = np.random.default_rng(0)
            return iter(rng.integers(2, size=(1000, 1)).astype(float))

    data = stream(Coins(), sample=500)
    x = torch.cat([rows for rows, _ in itertools.islice(data.stream.batches(80, 0), 10)])
    assert x.mean().item() == pytest.approx(0.5, abs=4 * 0.5 / 800**0.5)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_comes_through_one_file(workers):
    """Of as many rows as models take; each row by itself would take a file of its own from one process to the other."""
    data = stream(Numbered(3000), sample=100, workers=workers)
    x, _ = next(data.stream.batches(1024, 0))
    assert x.shape == (1024, 2)


def test_items_are_taken_as_people_have_them():
    from PIL import Image
    from torch.utils.data import TensorDataset

    rows = torch.arange(200.0).reshape(100, 2)
    x, _ = next(stream(TensorDataset(rows), sample=50).stream.batches(80, 0))
    assert (x.diff(dim=1) == 1).all()
    labelled = stream(TensorDataset(rows, torch.arange(100) % 2), sample=50, condition="label")
    assert labelled.condition.encoding.classes == [["0", "1"]]

    class Listed(Items):
        def __init__(self, make):
            self.make = make

        def __len__(self):
            return 100

        def __getitem__(self, i):
            return self.make(i)

    assert stream(Listed(lambda i: [i / 7, i % 5 / 3, i * i % 11]), sample=50).dim == 3
    shade = lambda i: np.random.default_rng(i).integers(256, size=(8, 6, 3), dtype=np.uint8)
    coloured = stream(Listed(lambda i: (Image.fromarray(shade(i)), i % 3)), sample=50)
    assert coloured.event_shape == (3, 8, 6)
    assert coloured.images(coloured.test[:1]).shape == (1, 3, 8, 6)
    assert stream(Listed(lambda i: Image.fromarray(shade(i)[..., 0])), sample=50).event_shape == (1, 8, 6)
    for make, said in (
        (lambda i: {"x": 1.0}, "an item that is a dict came"),
        (lambda i: "red", "an item that is a str came"),
        (lambda i: (torch.zeros(2), 1, 0.5), "an item of 3 parts came"),
        (lambda i: torch.rand(3, 4, 4), r"an item of the shape \(3, 4, 4\), float32, came"),
        (lambda i: shade(i), r"an item of the shape \(8, 6, 3\), uint8, came"),
        (lambda i: (torch.rand(2), torch.rand(1)), "condition: the label 0.* came; the number or the name of a class"),
        (lambda i: (torch.rand(2), torch.eye(3)[0]), "condition: the label a Tensor came"),
        (lambda i: torch.rand(2 + i % 2), r"items of the shapes"),
    ):
        with pytest.raises(InputError, match=said):
            stream(Listed(make), sample=50, condition="label")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_row_of_another_kind_is_one_line(workers):
    class Broken(Numbered):
        def __init__(self, last, labelled=False):
            super().__init__(3000, labelled)
            self.last, self.places = last, []

        def __getitem__(self, i):
            return self.last if self.places and i in self.places else super().__getitem__(i)

    for last, said in (
        (torch.tensor([np.nan, 1.0]), "data: nan came in column 1 of a row of Broken"),
        (torch.tensor([1.0, np.inf]), "data: inf came in column 2"),
        (torch.zeros(3), "items of the shapes"),
        ((torch.zeros(2), 7), "condition: the label '7' of a row of Broken came"),
    ):
        items = Broken(last, labelled=isinstance(last, tuple))
        data = stream(items, sample=100, workers=workers, condition="label" if items.labelled else ())
        items.places = data.stream.places.tolist()[200:]
        with pytest.raises(InputError, match=said) as error:
            for _ in itertools.islice(data.stream.batches(100, 0), 40):
                pass
        assert "\n" not in str(error.value)


def test_what_takes_no_batches_says_so():
    with pytest.warns(gf.Remark, match="trained on the 100 rows of its sample"):
        gf.baselines.Gaussian(2).fit(stream(Numbered(3000), sample=100), iterations=1)


def test_an_iterable_that_does_not_begin_again_is_one_line():
    class Once(IterableDataset):
        items = iter(Line(40))

        def __iter__(self):
            return self.items

    with pytest.raises(InputError, match="gave no more rows"):
        firsts(stream(Once(), sample=10), 30, size=4)
    with pytest.raises(InputError, match="workers: 2 came for an iterable"):
        stream(Line(), workers=2)


def test_labels_are_conditions():
    data = stream(Numbered(labelled=True), sample=100, condition="label")
    assert data.condition.encoding.classes == [["0", "1", "2"]]
    x, labels = next(data.stream.batches(50, 0))
    assert [class_name(int(row) % 3) for row in (x[:, 0] - 0.5).round()] == labels[:, 0].tolist()


def test_pictures_get_noise_of_one_level_anew_each_time():
    data = stream(Pictures(), condition="label", sample=100)
    assert data.event_shape == (3, 2, 4)
    assert data.condition.encoding.classes == [["0", "1"]]
    batches = [x for x, _ in itertools.islice(data.stream.batches(240, 0), 2)]
    levels, noise = zip(*((x.floor(), x - x.floor()) for x in batches), strict=True)
    assert {tuple(row) for row in levels[0].tolist()} == {tuple(row) for row in levels[1].tolist()}
    # u ~ U[0, 1): the mean of 240 * 24 has the deviation 1 / sqrt(12 * 5760).
    for u in noise:
        assert u.mean().item() == pytest.approx(0.5, abs=4 / (12 * u.numel()) ** 0.5)
    assert not torch.equal(noise[0].sort(0).values, noise[1].sort(0).values)


MODELS = {
    "flow-matching": lambda k: gf.models.FlowMatching(2, width=8, depth=1, condition_dim=k),
    "cnf": lambda k: gf.models.CNF(2, width=8, condition_dim=k),
    "jko-iflow": lambda k: gf.models.JKOiFlow(2, width=8, condition_dim=k),
    "jko-iflow of two blocks": lambda k: gf.models.JKOiFlow(2, width=8, blocks=2, condition_dim=k),
    "maf": lambda k: gf.baselines.MAF(2, width=8, condition_dim=k),
    "mean-flow": lambda k: gf.baselines.MeanFlow(2, width=8, depth=1, condition_dim=k),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_see_rows_that_are_not_in_the_sample(name):
    seen = set()

    class Watched(Numbered):
        def __getitem__(self, i):
            seen.add(i)
            return super().__getitem__(i)

    data = stream(Watched(3000, labelled=True), sample=100, condition="label")
    before = len(seen)
    fitted = MODELS[name](3).fit(data, iterations=12)
    assert len(seen) > before + 200
    assert fitted.sample(3, condition="1").shape == (3, 2)


@pytest.mark.slow
def test_a_training_that_was_cut_off_goes_on_with_the_batches_that_are_left(tmp_path):
    data = stream(Numbered(3000), sample=200)

    def trained(**options):
        torch.manual_seed(0)
        return gf.models.CNF(2, width=8, batch_size=64).fit(data, iterations=60, seed=4, **options)

    class Cut(Exception):
        pass

    def cut(event):
        raise Cut

    whole = trained()
    with pytest.raises(Cut):
        trained(checkpoint=tmp_path, progress=cut)
    for a, b in zip(whole.model.state_dict().values(), trained(checkpoint=tmp_path).model.state_dict().values()):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_a_law_is_learned_from_batches():
    """Those of the sample alone would leave it farther off."""

    class Normal(Items):
        def __len__(self):
            return 40_000

        def __getitem__(self, i):
            return torch.randn(1, generator=torch.Generator().manual_seed(i)) * 2 + 5

    data = stream(Normal(), sample=100)
    fitted = gf.baselines.MAF(1, width=8, batch_size=400).fit(data, iterations=400)
    x = torch.linspace(1, 9, 9, dtype=torch.float64)[:, None]
    true = torch.distributions.Normal(5.0, 2.0).log_prob(x)[:, 0]
    # A mean that is off by .1 deviations, as 100 rows leave it, is .2 nats at two deviations.
    assert (fitted.log_prob(x) - true).abs().max().item() < 0.1


def test_a_folder_of_pictures_is_read_while_a_model_trains(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(("day", "night")):
        (tmp_path / "p" / name).mkdir(parents=True)
        for i in range(30):
            shade = np.random.default_rng(100 * place + i).integers(200 * place, 200 * place + 50, size=(3, 4))
            Image.fromarray(shade.astype(np.uint8)).save(tmp_path / "p" / name / f"{i}.png")
    words = "fit p --workers 0 --model maf --set width=8 --iterations 3 --condition label -o run"
    assert main(words.split()) == 0
    assert main(["evaluate", "run", "--evaluation-budget", "1s"]) == 0  # the same parts are found again
    assert main(["sample", "run", "-n", "2", "--condition", "night", "-o", "s.csv"]) == 0
    capsys.readouterr()
    for wrong, said in (
        ("fit p --workers 0 --drop x -o r2", "--drop: it does not go with workers"),
        ("evaluate run --test p", "--test: run was fitted with workers"),
        ("fit two-moons --workers 1 -o r2", "--workers: two-moons is no folder of pictures"),
        ("fit p --workers -1 -o r2", "--workers: -1 came"),
    ):
        assert main(wrong.split()) == 2
        assert said in capsys.readouterr().err


def test_wrong_arguments_get_one_line():
    for wrong, said in (
        (lambda: stream([1.0, 2.0]), "data: a list came; a torch.utils.data.Dataset"),
        (lambda: stream(Numbered(5)), "rows came; at least 10"),
        (lambda: stream(Numbered(), sample=0), "sample: 0 came"),
        (lambda: stream(Numbered(), sample=5), "sample: 5 came; at least 10"),
        (lambda: stream(Numbered(), workers=True), "workers: True came"),
        (lambda: stream(Numbered(), workers=-1), "workers: -1 came"),
        (lambda: stream(Numbered(), condition="label"), "condition: items of Numbered have no labels"),
        (lambda: stream(Numbered(), condition="digit"), "condition: 'digit' came"),
        (lambda: gf.compare(stream(Numbered()), ["maf"], iterations=1), "a comparison trains on rows in memory"),
    ):
        with pytest.raises(InputError, match=said):
            wrong()
