"""Checkpoints and tables that nobody meant: read and used to the end, or refused in a documented error of one line.

Twenty-five of each by fixed seeds; `make test-nightly` seeks five hundred anew each time.
"""

from __future__ import annotations

import shutil
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import genflow as gf
from genflow import InputError
from tests.test_storage_damage import fine_or_refused

FEW = settings(max_examples=25, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=500, derandomize=False, suppress_health_check=list(HealthCheck), print_blob=True)

BYTES = st.binary(max_size=40)
TOKENS = [b"0", b"9", b"-", b'"', b"{", b"null", b"1e999", b"\xff"]
DAMAGE = st.one_of(
    st.tuples(st.just("overwrite"), st.floats(0, 1), BYTES | st.sampled_from(TOKENS)),
    st.tuples(st.just("insert"), st.floats(0, 1), BYTES),
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(b"")),
    st.tuples(st.just("leave out"), st.floats(0, 1), st.integers(1, 200).map(bytes)),
    st.tuples(st.sampled_from(["empty", "delete", "a folder"]), st.just(0.0), st.just(b"")),
)  # fmt: skip


def damage(file, how, where, what):
    """Does it to a file."""
    content = file.read_bytes()
    at = int(where * len(content))
    changed = {
        "overwrite": content[:at] + what + content[at + len(what) :],
        "insert": content[:at] + what + content[at:],
        "cut": content[:at],
        "leave out": content[:at] + content[at + len(what) :],
        "empty": b"",
    }
    file.unlink()
    if how in changed:
        file.write_bytes(changed[how])
    elif how == "a folder":
        file.mkdir()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders with small models, one that leads to a mixture among them, of a table with a class, gaps and a date."""
    folder = tmp_path_factory.mktemp("saved")
    lines = [
        f"{k % 7},{'ash' if k % 3 else 'birch'},{k * 0.37 % 5:.2f},20{k % 90 + 10}-03-0{k % 9 + 1}" for k in range(90)
    ]
    (folder / "trees.csv").write_text("rings,kind,height,felled\n" + "\n".join(lines) + "\n,ash,,\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = gf.data.load(folder / "trees.csv")
        models = [
            gf.models.JKOiFlow(data.dim, blocks=1, width=4, depth=0, components=2),
            gf.models.FlowMatching(data.dim, width=4),
            gf.baselines.NSF(data.dim, width=4, transforms=1),
        ]
        for k, model in enumerate(models):
            model.fit(data, iterations=2).save(folder / f"run{k}")
    return folder


def check_a_damaged_checkpoint(saved, folder, number, places, damages):
    shutil.rmtree(folder / "run", ignore_errors=True)
    shutil.copytree(saved / f"run{number}", folder / "run")
    files = sorted(path for path in (folder / "run").rglob("*") if path.is_file())
    for place, each in zip(places, damages, strict=False):
        if (file := files[place % len(files)]).is_file():
            damage(file, *each)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fine_or_refused(folder / "run", (number, places, damages))


DAMAGED = given(
    number=st.integers(0, 2),
    places=st.lists(st.integers(0, 9), min_size=2, max_size=2),
    damages=st.lists(DAMAGE, min_size=1, max_size=2),
)


@DAMAGED
@FEW
def test_a_damaged_checkpoint(saved, tmp_path_factory, number, places, damages):
    check_a_damaged_checkpoint(saved, tmp_path_factory.mktemp("copy"), number, places, damages)


@pytest.mark.nightly
@DAMAGED
@MANY
def test_any_damaged_checkpoint(saved, tmp_path_factory, number, places, damages):
    check_a_damaged_checkpoint(saved, tmp_path_factory.mktemp("copy"), number, places, damages)


CELL = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.floats().map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.dates().map(str),
    st.datetimes().map(str),
    st.sampled_from([
        "", "NA", "nan", "?", "-", "yes", "no", "TRUE", "1,5", "1.234,56", "1e400", "-inf", "007", "0x1F", "$5", "12 %",
        "=1+1", "\u2212 3", "1\u00a0000", "\ufeff1", "\u0661", "null", "1_000", "#", "12:30", "24:00", "0000-00-00",
        "NaT", "\x00",
    ]),
    st.text(max_size=6),
    st.text(alphabet="\"',;|\t\r\n \\#%:0123456789.eE+-", max_size=8),
)  # fmt: skip
COLUMN = st.one_of(
    st.sampled_from([str, "{:.3f}".format, "{}.0".format, "a{}".format, "2020-01-{:02d}".format, "{},5".format]),
    st.none(),
)


@st.composite
def tables(draw):
    """The bytes of a text that may be a table: columns of one form with other cells among them, in some dialect."""
    separator = draw(st.sampled_from([",", ";", "\t", "|", " ", ":", ", ", "  "]))
    columns = draw(st.lists(COLUMN, min_size=1, max_size=5))
    count = draw(st.integers(0, 40))
    numbers = draw(st.randoms(use_true_random=False))
    strange = draw(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 4), CELL), max_size=8))
    rows = [[form(numbers.randint(1, 28)) if form else draw(CELL) for form in columns] for _ in range(count)]
    for row, column, cell in strange:
        if row < count and column < len(columns):
            rows[row][column] = cell
    if draw(st.booleans()):
        rows.insert(0, draw(st.lists(st.text(max_size=6), min_size=len(columns), max_size=len(columns))))
    if draw(st.booleans()):
        rows = [["".join(f'"{cell}"') for cell in row] for row in rows]
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = newline.join([*draw(st.lists(st.text(max_size=12), max_size=2)), *(separator.join(row) for row in rows)])
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"]))
    content = text.encode(encoding, "replace")
    if draw(st.integers(0, 9)) == 0:
        content = content[: draw(st.integers(0, len(content)))] + draw(BYTES)
    return content


def check_a_hostile_table(folder, content, ending):
    file, said = folder / f"table{ending}", None
    file.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = gf.data.load(file)
            fitted = gf.baselines.Gaussian(data.dim).fit(data, iterations=1)
        except InputError as error:
            said = str(error).strip()
        else:  # what is read can be trained on, scored and drawn from
            assert not fitted.log_prob(data.test).isnan().any()
            assert len(fitted.sample_frame(5)) == 5
    assert said is None or (said and "\n" not in said)


ENDINGS = [".csv", ".txt", ".tsv", ".dat", ".gz", ".xlsx", ".parquet", ".npy"]
TABLES = given(content=tables(), ending=st.sampled_from(ENDINGS))


@TABLES
@FEW
def test_a_hostile_table(tmp_path_factory, content, ending):
    check_a_hostile_table(tmp_path_factory.mktemp("table"), content, ending)


@pytest.mark.nightly
@TABLES
@MANY
def test_any_hostile_table(tmp_path_factory, content, ending):
    check_a_hostile_table(tmp_path_factory.mktemp("table"), content, ending)


@pytest.mark.parametrize("text", [",", ";", '""', ",\n,", ",\n,\n,\n"])
def test_separators_alone_are_no_table(tmp_path, text):
    (tmp_path / "empty.csv").write_text(text)
    with pytest.raises(InputError, match="the file holds no numbers"):
        gf.data.load(tmp_path / "empty.csv")
