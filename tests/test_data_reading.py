"""Text as programs and people write it: the same table, or a line that says why not; what is guessed is remarked on."""

from __future__ import annotations

import csv
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genflow import InputError
from genflow.data import load, read, read_with_condition, write
from genflow.data.conditions import Encoding
from genflow.data.reading import read_table
from genflow.errors import Remark

RNG = np.random.default_rng(3)
# Below one, above a thousand, negative; three decimals at most, so that grouped and plain spellings are told apart.
X = np.column_stack([RNG.normal(1.7, 0.2, 60), RNG.normal(70, 9, 60), RNG.normal(0, 2500, 60)]).round(3)
NAMES = ["height", "weight", "balance"]
COUNTS = np.column_stack([RNG.integers(1, 90_000, 80), RNG.integers(1, 5_000, 80)])


@pytest.fixture
def text(tmp_path):
    def write_text(content: str, name: str = "table.csv", encoding: str = "utf-8"):
        path = tmp_path / name
        path.write_bytes(content.encode(encoding))
        return path

    return write_text


@pytest.fixture
def told():
    """Reads a file; also the remarks that came as warnings."""

    def read_told(path, columns=None):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values, names = read(path, columns)
        assert all(issubclass(warning.category, Remark) for warning in caught)
        return values, names, [str(warning.message).removeprefix(f"{path}: ") for warning in caught]

    return read_told


def lines(rows, separator=",", cell=repr, head=NAMES, end="", newline="\n"):
    body = [separator.join(cell(value) for value in row.tolist()) + end for row in rows]
    return newline.join([separator.join(head) + end, *body] if head else body) + newline


# Numbers


def spelt(decimal: str, group: str, digits: int = 3):
    return lambda v: f"{v:,.{digits}f}".replace(",", "G").replace(".", decimal).replace("G", group)


def quoted(cell):
    return lambda v: f'"{cell(v)}"'


@pytest.mark.parametrize(
    ("separator", "cell"),
    [
        ("|", repr),
        (",", quoted(spelt(",", ""))),
        (",", quoted(spelt(".", ","))),
        (",", quoted(spelt(",", "."))),
        ("\t", spelt(".", ",")),
        ("|", spelt(".", ",")),
        (";", spelt(".", ",")),
        (";", spelt(",", ".")),
        ("\t", spelt(",", ".")),
        (" ", spelt(".", ",")),
        (" ", spelt(",", ".")),
        (";", spelt(".", "'")),
        (",", spelt(".", "\u2019")),
        (";", spelt(",", " ")),
        ("\t", spelt(".", " ")),
        (";", spelt(",", "\u00a0")),
        (" ", spelt(",", "\u202f")),
        (",", lambda v: repr(v).replace("-", "\u2212")),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_notation_gives_the_same_numbers(text, told, separator, cell, newline):
    values, names, _ = told(text(lines(X, separator, cell, newline=newline)))
    np.testing.assert_array_equal(values, X)
    assert names == NAMES


def test_the_decimals_of_one_column_tell_those_of_another(text, told):
    """1,234 is a thousand where another column has decimal points, and one and a bit where it has decimal commas."""
    head = ["a", "b"]
    for decimal, group in (".,", ",."):
        rows = [
            f"{spelt(decimal, '', 1)(v)};{spelt(decimal, group, 0)(1000 + c)}" for v, c in zip(X[:, 1], COUNTS[:, 0])
        ]
        values, _, remarks = told(text("\n".join([";".join(head), *rows])))
        np.testing.assert_array_equal(values[:, 1], 1000 + COUNTS[:60, 0])
        assert len(remarks) == 1
        assert "in b are read as" in remarks[0]
        assert "separates thousands" in remarks[0]
        rows = [f"{spelt(decimal, '', 1)(v)};{spelt(decimal, '', 3)(1 + h)}" for v, h in zip(X[:, 1], X[:, 0])]
        values, _, remarks = told(text("\n".join([";".join(head), *rows])))
        np.testing.assert_allclose(values[:, 1], 1 + X[:, 0], rtol=1e-15)
        assert remarks == []


@pytest.mark.parametrize("group", [",", "."])
@pytest.mark.parametrize("separator", ["\t", ";", "|", " "])
def test_whole_numbers_of_all_sizes_tell_thousands(text, told, group, separator):
    values, _, remarks = told(text(lines(COUNTS, separator, lambda v: f"{v:,}".replace(",", group), ["a", "b"])))
    np.testing.assert_array_equal(values, COUNTS)
    assert len(remarks) == 1
    assert "separates thousands" in remarks[0]


def test_a_number_that_may_be_two_is_refused_or_remarked_on(text, told):
    grouped = "\n".join(["a\tb", *(f"{1000 + c:,}\t{c}" for c in COUNTS[:40, 0])])
    with pytest.raises(InputError, match=r"row 1 \(line 2\), column 'a': .+ may be \d+ or \d+\.\d{3}, nothing"):
        read(text(grouped, "table.tsv"))
    values, _, remarks = told(text(grouped.replace(",", "."), "table.tsv"))
    np.testing.assert_allclose(values[:, 0], 1 + COUNTS[:40, 0] / 1000, rtol=1e-15)
    assert "read with a decimal point" in remarks[0]
    assert told(text(grouped.replace(",", ".").replace("\t", ",")))[2] == []  # a comma between columns


def test_averages_of_three_are_no_thousands(text, told):
    """1, 1.333, 1.667, 2: no decimals of one or two digits, but two endings only."""
    thirds = np.round(RNG.integers(3, 30, size=(90, 2)) / 3, 3)
    values, _, _ = told(text(lines(thirds, ",", lambda v: f"{v:g}", ["a", "b"])))
    np.testing.assert_array_equal(values, thirds)
    with pytest.raises(InputError, match="may be"):
        read(text(lines(thirds, ";", lambda v: f"{v:g}".replace(".", ","), ["a", "b"])))


def indian(v: float) -> str:
    """12,34,567.891: groups of two before the last three digits."""
    whole, _, decimals = f"{abs(v):.3f}".partition(".")
    head, tail = whole[:-3], whole[-3:]
    while head:
        head, tail = head[:-2], f"{head[-2:]},{tail}"
    return "-" * (v < 0) + f"{tail}.{decimals}"


LARGE = X * [1, 1, 1000]
DRESSED = {
    "Indian groups": (indian, "the comma separates thousands"),
    "rupees": (lambda v: f"\u20b9{indian(v)}", "the \u20b9 of numbers like"),
    "a unit": (lambda v: f"{v:.3f} kg/m\u00b2", "the kg/m\u00b2 of numbers like"),
    "a unit without a blank": (lambda v: f"{v:.3f}\u00b0C", "the \u00b0C of numbers like"),
    "amounts in brackets": (lambda v: f"(${-v:.3f})" if v < 0 else f"${v:.3f}", "are read as -"),
    "numbers in brackets": (lambda v: f"({-v:,.3f})" if v < 0 else f"{v:,.3f}", "are read as -"),
    "a minus behind": (lambda v: f"{-v:.3f}-" if v < 0 else f"{v:.3f}", "are read as -"),
    "Fortran": (lambda v: f"{v:.12E}".replace("E", "D"), ""),
}


@pytest.mark.parametrize("name", DRESSED)
def test_numbers_as_people_write_them(text, told, name):
    cell, said = DRESSED[name]
    values, names, remarks = told(text(lines(LARGE, ";", cell)))
    np.testing.assert_array_equal(values, LARGE.round(3))
    assert names == NAMES
    assert any(said in remark for remark in remarks) if said else not remarks


@pytest.mark.parametrize(
    "cells",
    [
        lambda k: f"{k} {'kg' if k % 2 else 'g'}",  # two units
        lambda k: f"({k})",  # labels, for none stands without brackets
        lambda k: ["1st", "2nd", "3rd"][k % 3],
        lambda k: f"{k:03d}b",  # codes
        lambda k: "2nd",
    ],
)
def test_what_may_be_words_stays_words(text, cells):
    rows = "\n".join(f"{value};{cells(k % 15)}" for k, value in enumerate(X[:, 0].tolist()))
    column = load(text("x;v\n" + rows)).schema.columns[1]
    assert column.kind in ("class", "constant")
    assert column.dtype == "str"


def test_a_unit_in_the_only_column(text, told):
    values, names, remarks = told(text("mass\n" + "\n".join(f"{k} kg" for k in COUNTS[:, 0])))
    np.testing.assert_array_equal(values[:, 0], COUNTS[:, 0])
    assert names == ["mass"]
    assert any("the kg of numbers like" in remark for remark in remarks)


def test_one_number_in_brackets_may_be_a_slip(text, told):
    rows = lines(X[:, :2], ";", head=["a", "b"]).splitlines()
    rows[3] = "(1.5);70.5"
    with pytest.warns(Remark, match=r"row 3 \(line 4\), column 'a': '\(1.5\)' is no number: read as missing"):
        load(text("\n".join(rows)))


def test_codes_of_different_lengths_are_not_made_one(text):
    """1, 01 and 001 are three codes; where no two are one number they are numbers, and that their zeros go is said."""
    path = text("x;v\n" + "\n".join(f"{x};{['1', '01', '001', '2'][k % 4]}" for k, x in enumerate(X[:, 0])))
    with pytest.warns(Remark, match="numbers like 001 and 1 are written apart: each is the name of a class"):
        assert load(path).schema.columns[1].classes == ("001", "01", "1", "2")
    assert load(path, kinds={"v": "class"}).schema.columns[1].classes == ("001", "01", "1", "2")
    path = text("x;v\n" + "\n".join(f"{x};{['007', '12', '5'][k % 3]}" for k, x in enumerate(X[:, 0])))
    with pytest.warns(Remark, match="column 'v': numbers like 007 lose their zeros; kinds={'v': 'class'} keeps them"):
        assert load(path).schema.columns[1].kind == "integer"


def test_codes_of_different_lengths_deep_in_a_long_text(text):
    rows = np.random.default_rng(0).normal(size=70_000)
    path = text("x,v\n" + "\n".join(f"{x:.12f},{'01' if k > 60_000 else k % 9}" for k, x in enumerate(rows)))
    assert "01" in load(path).schema.columns[1].classes


@pytest.mark.parametrize("wrong", ["1_000", "0x1f", "12 %", "$5", "1,23,4", "1.2.3", "\u0661\u0662", "--1", "1e", "5-"])
def test_what_is_no_number_is_not_guessed(text, wrong):
    rows = lines(X, ";").splitlines()
    rows[4] = f"{wrong};70.5;1.5"
    with pytest.raises(InputError, match=r"row 4 \(line 5\), column 'height': .+ is not a number"):
        read(text("\n".join(rows)))


def test_two_notations_in_one_column(text):
    rows = lines(X, ";").splitlines()
    rows[4] = "1,5;70.5;1.5"
    with pytest.raises(InputError, match=r"row 4 \(line 5\), column 'height': '1,5' is written in another way"):
        read(text("\n".join(rows)))


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt", ".parquet", ".npy"])
def test_numbers_come_back_to_the_last_bit(tmp_path, ending, values):
    path = tmp_path / f"table{ending}"
    rows = np.array([values, values[::-1]])
    write(path, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Remark)  # 1.001 in a table of nothing else
        np.testing.assert_array_equal(read(path)[0], rows)


# Names

NAME = st.one_of(
    st.text(max_size=8),
    st.text(alphabet="#%=+-@'\",;|\t\r\n .0123456789eaN", max_size=8),
    st.sampled_from(
        ["2019", "#visits", "% fat", "a#b", "item #2", "'q'", '"', "", " a ", "NA", "nan", "inf", "-1", "=1+1",
         "'=1+1", "@SUM(A1)", "+x", "a,b",
         "a\nb", "a\r\nb", "sep=,", "x2", "0", "Unnamed: 0", "\ufeffa", "True", "\u2028", "\x0b"]
    ),
)  # fmt: skip


@given(names=st.lists(NAME, min_size=1, max_size=4, unique=True), rows=st.integers(1, 12), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_any_names_are_read_back(tmp_path, ending, names, rows, seed):
    path = tmp_path / f"table{ending}"
    values = np.random.default_rng(seed).normal(size=(rows, len(names)))
    write(path, values, names)
    for wanted in (None, names):
        again, columns = read(path, wanted)
        np.testing.assert_array_equal(again, values)
        assert columns == names


@given(names=st.lists(NAME, min_size=2, max_size=4, unique=True), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_names_above_whole_numbers_are_read_back(tmp_path, names, seed):
    values = np.random.default_rng(seed).integers(-3, 3, size=(8, len(names)))
    write(tmp_path / "table.csv", values, names)
    again, columns = read(tmp_path / "table.csv", names)
    np.testing.assert_array_equal(again, values)
    assert columns == names


@given(names=st.lists(NAME, min_size=1, max_size=3, unique=True))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize(("ending", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_no_name_is_a_formula_in_a_spreadsheet(tmp_path, ending, separator, names):
    path = tmp_path / f"table{ending}"
    write(path, np.zeros((2, len(names))), names)
    with open(path, newline="", encoding="utf-8") as file:
        head = next(csv.reader(file, delimiter=separator))
    assert len(head) == len(names)
    for cell in head:
        assert cell[:1] not in tuple("=+-@\t\r\n") or len(cell) < 2 or cell.lstrip("+-").replace(".", "").isalnum(), (
            cell
        )


def test_words_are_read_back_and_are_no_formulas(tmp_path):
    words = ["=1+1", "#tag", "a,b", 'say "x"', "'=x", "two\nlines", "plain"]
    rows = np.array([[0.5 + k, word] for k, word in enumerate(words * 3)], dtype=object)
    write(tmp_path / "table.csv", rows, ["2019", "=kind"])
    assert '\n1.5,"#tag"\n' in (tmp_path / "table.csv").read_text()
    assert "'=1+1" in (tmp_path / "table.csv").read_text()
    encoding = Encoding(["=kind"], [sorted(words)], [0.0], [1.0])
    values, given_words = read_with_condition(tmp_path / "table.csv", ["2019"], encoding)
    np.testing.assert_array_equal(values[:, 0], rows[:, 0].astype(float))
    assert given_words[:, 0].tolist() == words * 3
    for ending in (".npy", ".txt"):
        with pytest.raises(InputError, match="holds numbers only"):
            write(tmp_path / f"table{ending}", rows, ["a", "b"])


def test_names_that_are_not_all_different_are_not_written(tmp_path):
    with pytest.raises(InputError, match="2 columns are called 'a'"):
        write(tmp_path / "table.csv", X, ["a", "b", "a"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["text", "frame", "parquet"])
def test_columns_of_one_name_are_remarked_on(text, kind):
    if kind == "text":
        data = load(text(lines(X, head=["a", "a", "a.2"])))
    elif kind == "frame":
        data = load(pd.DataFrame(X, columns=["a", "a", "a.2"]))
    else:
        data = load(pd.DataFrame(X, columns=pd.Index([1, "1", "a"], dtype=object)))
    assert len(set(data.columns)) == 3
    assert any("2 columns have the same name" in remark for remark in data.remarks)


# The header


@pytest.mark.parametrize(
    "head",
    [
        ["2019", "2020", "2021"],
        ["2019", "2020"],
        ["0", "1", "2"],
        ["0", "1"],
        ["0"],
        ["1", "2", "3", "4"],
        ["400", "402.5", "405"],
        ["2021", "2020", "2019"],
        ["400.1", "402.7", "403.9", "410", "411", "415.5", "430", "440", "450"],
        ["10", "20", "50", "100", "200", "500", "1000", "2000"],
    ],
)
@pytest.mark.parametrize("form", ["plain", "German", "index", "quoted"])
def test_a_header_of_numbers_is_no_row(text, told, head, form):
    rows = RNG.normal(size=(40, len(head)))
    if form == "German":
        content = lines(rows, ";", lambda v: repr(v).replace(".", ","), [name.replace(".", ",") for name in head])
        head = [name.replace(".", ",") for name in head]
    elif form == "index":
        if len(head) == 1:
            return  # two columns: the case of 0,1 has it
        content = pd.DataFrame(rows, columns=head).to_csv()
    elif form == "quoted":
        content = pd.DataFrame(rows, columns=head).to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)
    else:
        content = lines(rows, head=head)
    values, names, remarks = told(text(content))
    assert names == head
    np.testing.assert_allclose(values, rows, rtol=1e-15)
    if form in ("plain", "German"):
        assert any("the first line" in remark and "names of the columns" in remark for remark in remarks)


@pytest.mark.parametrize(
    "rows",
    [
        RNG.normal(size=(30, 3)),
        RNG.integers(1, 6, size=(200, 3)),
        np.sort(RNG.normal(size=(30, 9)), axis=1),
        np.column_stack([np.arange(0, 0.9, 0.1).round(1), np.exp(-np.arange(0, 0.9, 0.1)).round(3)]),
        np.arange(60).reshape(20, 3) * 1.0,
        np.array([[1990, 12], [1991, 14], [1992, 11], [1993, 15]]),
        np.arange(0, 1.05, 0.05).round(2)[:, None],
    ],
    ids=["normal", "answers", "sorted", "decay", "even", "years", "times"],
)
@pytest.mark.parametrize("separator", [",", " "])
def test_a_row_of_numbers_is_no_header(text, told, rows, separator):
    cell = (lambda v: f"{v:g}") if separator == " " else repr
    values, names, _ = told(text(lines(rows, separator, cell, head=None)))
    assert len(values) == len(rows)
    assert names == [f"x{j + 1}" for j in range(rows.shape[1])]


def test_names_that_are_asked_for_decide(text, told):
    rows = RNG.integers(0, 9, size=(20, 2))
    content = lines(rows, head=["3", "7"])
    assert len(told(text(content))[0]) == 21
    values, names, remarks = told(text(content), ["7", "3"])
    np.testing.assert_array_equal(values, rows[:, ::-1])
    assert (names, remarks) == (["7", "3"], [])
    values, names, _ = told(text("#visits,b\n1.5,2\n3,4\n"), ["#visits", "b"])
    assert (values.tolist(), names) == ([[1.5, 2], [3, 4]], ["#visits", "b"])


@pytest.mark.parametrize(
    ("head", "names", "remarks"),
    [
        ("# height,weight,balance", NAMES, 0),
        ("% height,weight,balance", NAMES, 1),
        ("#height,weight,balance", NAMES, 1),
        ("% fat,% water,% bone", ["% fat", "% water", "% bone"], 0),
        ("# rooms,# baths,# beds", ["# rooms", "# baths", "# beds"], 0),
        ("height,item #2,balance", ["height", "item #2", "balance"], 0),
        ("height,2 #2,balance #3", ["height", "2 #2", "balance #3"], 0),
        ('"#height",weight,balance', ["#height", "weight", "balance"], 0),
        ("height,weight\u00b2,% of #1", ["height", "weight\u00b2", "% of #1"], 0),
        ("'height','weight','balance'", NAMES, 0),
        ('"height\nin m",weight,balance', ["height\nin m", "weight", "balance"], 0),
        ("height,,balance", ["height", "x2", "balance"], 1),
        ("x2,,balance", ["x2", "x2.2", "balance"], 1),
    ],
)
def test_marks_of_comments_and_names_with_them(text, told, head, names, remarks):
    values, found, said = told(text(f"{head}\n" + lines(X, head=None)))
    assert found == names
    assert len(said) == remarks
    np.testing.assert_array_equal(values, X)


@pytest.mark.parametrize("kind", ["csv", "xlsx", "frame"])
def test_a_column_without_a_name_is_called_by_its_place_and_that_is_said(tmp_path, kind):
    table = pd.DataFrame(X, columns=["height", None, "balance"])
    source = table if kind == "frame" else tmp_path / f"t.{kind}"
    if kind == "csv":
        table.to_csv(source, index=False)
    elif kind == "xlsx":
        table.to_excel(source, index=False)
    data = load(source)
    assert data.columns == ["height", "x2", "balance"]
    assert "1 column without a name: called x2, by its place" in " ".join(data.remarks)


def test_a_note_behind_numbers_and_a_row_that_is_commented_out(text, told):
    rows = lines(X, head=None).splitlines()
    rows[0] += " # the first, and best"
    rows[7] += "  # estimated"
    rows.insert(9, "# 1,2,3")
    rows.insert(12, "# back to work")
    values, _, remarks = told(text("\n".join(rows)))
    np.testing.assert_array_equal(values, X)
    assert remarks == ["line 10 begins with #: left out as a comment"]


@pytest.mark.parametrize("error", ["#N/A", "#DIV/0!", "#VALUE!", "#NAME?", "#WERT!", "#NV", "#####"])
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize("head", [NAMES, None])
def test_what_a_spreadsheet_shows_for_no_value_is_missing(text, error, place, separator, head):
    """In whatever column and row, behind a note as well; the other numbers of the row stay."""
    rows = [[repr(value) for value in row] for row in X.tolist()]
    expected = X.copy()
    for i in (0, 7, 59):
        rows[i][place], expected[i, place] = error, np.nan
    body = "".join(separator.join(row) + " # so it is" * (i == 7) + "\n" for i, row in enumerate(rows))
    table = read_table(text("# made by hand\n" + (separator.join(head) + "\n" if head else "") + body))
    np.testing.assert_array_equal(table.values, expected)


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize("names", [["colour", "x"], ["x", "colour"], ["colour", "x", "y"], ["x", "colour", "y"]])
@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize("head", ["", "# made by hand\n"])
def test_colours_are_words_in_any_column(text, separator, names, others, head):
    """Be all of them so, or beside names of colours; a comment above the names stays one."""
    colours = ["red" if others and k % others == 0 else f"#ff000{k % 7}" for k in range(60)]
    cells = {"colour": colours, "x": [*map(repr, X[:, 0].tolist())], "y": [*map(repr, X[:, 1].tolist())]}
    rows = zip(*(cells[name] for name in names), strict=True)
    table = read_table(text(head + "".join(separator.join(row) + "\n" for row in [names, *rows])))
    column = table.kinds[place := names.index("colour")]
    assert [column.classes[int(k)] for k in table.values[:, place]] == colours
    np.testing.assert_array_equal(table.values[:, names.index("x")], X[:, 0])


def test_a_row_whose_first_word_begins_with_the_mark_is_said(text, told):
    """Behind a blank, or above numbers, the mark is that of a comment."""
    rows = [f"{word},{k}" for k, word in enumerate(["red", "blue"] * 20)]
    rows[5:5], rows[9:9] = ["# red,7"], ["#tag,8"]
    table = read_table(text("colour,x\n" + "\n".join(rows)))
    assert table.values[:, 1].tolist() == [*range(8), 8, *range(8, 40)]
    assert table.remarks == [
        "line 11 begins with #: read as a row",
        "line 7 begins with #: left out as a comment",
    ]
    _, _, remarks = told(text("a,b\n" + "".join(f"{k},{k % 7}\n" for k in range(20)) + "#20,1\n"))
    assert remarks == ["line 22 begins with #: left out as a comment"]


def test_a_table_of_words_without_names_keeps_its_first_row(text):
    words = "red,small\nblue,large\nred,large\nblue,small\n" * 5
    data = load(text(words))
    assert sum(map(len, data.parts().values())) == 20
    assert [column.classes for column in data.schema.columns] == [("blue", "red"), ("large", "small")]
    assert any("the first line, red, small, is read as a row" in remark for remark in data.remarks)
    pairs = [("MF"[k % 2], x) for k, x in enumerate(X[:, 0].tolist())]
    rows = "".join(f"{kind},{x!r}\n" for kind, x in pairs)
    data = load(text(rows), condition=[0])
    assert sum(map(len, (data.train, data.validation, data.test))) == 60  # rows that meet by chance are kept
    assert load(text("sex,height\n" + rows), condition=["sex"]).columns == ["height"]


# Files as programs write them


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\n" + lines(X, ";"),
        "SEP=|\r\n" + lines(X, "|", newline="\r\n"),
        lines(X, end=","),
        lines(X, ";", spelt(",", ""), end=";"),
        lines(X, end=",,,"),
        lines(X).replace("\n", ",\n").replace("balance,", "balance"),
        "".join(f"|{line}|\n" for line in lines(X, "|").splitlines()),
        "\ufeff" + lines(X),
        "\n\n  \n" + lines(X) + "\n\n",
        lines(X, ",", quoted(repr), [f'"{name}"' for name in NAMES]),
    ],
    ids=["sep", "SEP", "end", "end;", "ends", "end of rows", "bars", "mark", "gaps", "quoted"],
)
def test_one_table_in_many_files(text, told, content):
    values, names, remarks = told(text(content))
    np.testing.assert_array_equal(values, X)
    assert (names, remarks) == (NAMES, [])


@pytest.mark.parametrize(
    ("encoding", "remarks"),
    [("utf-8", 0), ("utf-8-sig", 0), ("utf-16", 0), ("utf-16-le", 0), ("utf-16-be", 0), ("utf-32", 0), ("cp1252", 1)],
)
def test_encodings(text, told, encoding, remarks):
    values, names, said = told(text(lines(X, head=["größe", "weight", "balance"]), encoding=encoding))
    np.testing.assert_array_equal(values, X)
    assert names[0] == "größe"
    assert len(said) == remarks


@pytest.mark.parametrize("head", ["a,b\n", ""])
@pytest.mark.parametrize("short", [1, 4])
@pytest.mark.parametrize("separator", [",", " ", ";", "\t"])
def test_a_row_that_is_cut_short_makes_no_decimals_of_the_others(text, head, short, separator):
    rows = [f"{x},{y}" for x, y in RNG.integers(1, 99, size=(12, 2))]
    for k in range(short):
        rows[2 * k + 3] = "7"
    with pytest.raises(InputError, match=f"line {4 + bool(head)} has 1 values, the first row has 2"):
        read(text((head + "\n".join(rows)).replace(",", separator)))


def test_one_column_of_decimal_commas_has_a_name_above(text, told):
    values, names, remarks = told(text("height\n1,5\n2\n3,25\n"))
    assert (values[:, 0].tolist(), names) == ([1.5, 2, 3.25], ["height"])
    assert remarks == ["one column: the comma is read as the sign of the decimals"]


LONG = np.random.default_rng(5).normal(size=(6000, 9)).round(16)  # more than a million characters


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_long_table_is_read_like_a_short_one(text, told, separator, newline):
    names = [f"c{j}" for j in range(9)]
    values, found, remarks = told(text(lines(LONG, separator, head=names, newline=newline)))
    np.testing.assert_array_equal(values, LONG)
    assert (found, remarks) == (names, [])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("tall", r"row 5001 \(line 5002\), column 'c2': 'tall' is not a number"),
        ("", r"row 5001 \(line 5002\), column 'c2': a missing value"),
        ("1e999", r"row 5001 \(line 5002\), column 'c2': inf"),
        ("1,2", "line 5002 has 10 values, the lines before it have 9"),
    ],
)
def test_what_is_wrong_far_down_in_a_long_table_is_found(text, wrong, message):
    rows = lines(LONG, head=[f"c{j}" for j in range(9)]).splitlines()
    fields = rows[5001].split(",")
    fields[2] = wrong
    rows[5001] = ",".join(fields)
    with pytest.raises(InputError, match=message):
        read(text("\n".join(rows)))


def test_thousands_far_down_in_a_long_table(text, told):
    """The first rows are below a thousand; nothing tells thousands from decimals but the numbers further down."""
    counts = np.random.default_rng(6).integers(1, 300, size=(90_000, 3))
    counts[70_000:] = np.random.default_rng(7).integers(1, 900_000, size=(20_000, 3))
    values, _, remarks = told(text(lines(counts, ";", lambda v: f"{v:,}".replace(",", "."), ["a", "b", "c"])))
    np.testing.assert_array_equal(values, counts)
    assert "separates thousands" in remarks[0]


def test_a_quoted_field_may_have_lines_of_its_own(text):
    content = 'a,note,b\n1,"two\n# lines\n\n",2\n3,x,four\n'
    with pytest.raises(InputError, match=r"row 2 \(line 6\), column 'b': 'four' is not a number"):
        read(text(content), ["a", "b"])
    np.testing.assert_array_equal(read(text(content.replace("four", "4")), ["a", "b"])[0], [[1, 2], [3, 4]])


# What numbers the rows


def frame(**columns) -> pd.DataFrame:
    return pd.DataFrame({**columns, "a": X[:, 0], "b": X[:, 2]})


SHUFFLED = RNG.permutation(60)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("Id", np.arange(1, 61)),
        ("id", SHUFFLED),
        ("customer_id", 1000 + 7 * SHUFFLED),
        ("PassengerId", SHUFFLED + 1),
        ("Unnamed: 0", SHUFFLED),
        ("index", 3 * SHUFFLED),
        ("whatever", np.arange(60)),
        ("whatever", np.arange(1, 61)),
        ("", SHUFFLED),
    ],
)
@pytest.mark.parametrize("kind", ["frame", "csv", "parquet"])
def test_a_column_that_numbers_the_rows_is_left_out(tmp_path, name, column, kind):
    source = table = frame(**{name: column})
    if kind != "frame":
        source = tmp_path / f"table.{kind}"
        table.to_csv(source, index=False) if kind == "csv" else table.to_parquet(source)
    data = load(source)
    assert data.columns == ["a", "b"]
    assert any("numbers the rows" in remark or "counts the rows" in remark for remark in data.remarks)
    if name:
        assert load(source, columns=[name, "a"]).columns == [name, "a"]
        assert load(source, condition=[name]).condition.columns == [name]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("paid", np.arange(60) * 2),
        ("width", SHUFFLED),
        ("year", 1950 + np.arange(60)),
        ("id", np.arange(60) // 2),
        ("id", X[:, 1]),
    ],
)
def test_other_columns_stay(name, column):
    data = load(frame(**{name: column}))
    assert data.columns == [name, "a", "b"]
    assert any("has every number from 0 on once" in remark for remark in data.remarks) == (name == "width")


def test_rows_that_an_identifier_hid_are_found():
    doubled = np.concatenate([X, X[:15]])
    rows = pd.DataFrame(doubled, columns=NAMES)
    rows.insert(0, "Id", np.arange(len(rows)))
    data = load(rows)
    assert any("15 rows of 75 repeated exactly: dropped" in remark for remark in data.remarks)
    twice = pd.concat([frame(Id=SHUFFLED), frame(Id=SHUFFLED)])  # the same file twice
    assert load(twice).columns == ["a", "b"]


@pytest.mark.parametrize("order", [np.arange(60), SHUFFLED])
def test_the_first_column_of_a_table_without_names(text, order):
    rows = np.column_stack([order, X])
    own = np.column_stack([np.arange(20), RNG.normal(size=(20, 3))])
    data = load(rows, test=own)
    assert data.columns == ["x2", "x3", "x4"]
    np.testing.assert_array_equal(data.test, own[:, 1:])
    assert load(rows, test=own[:, 1:]).dim == 3
    plain = text(lines(rows, head=None))
    assert load(plain).columns == ["x2", "x3", "x4"]
    np.testing.assert_array_equal(read(plain, ["x2", "x3", "x4"])[0], X)
    assert load(np.arange(60)).dim == 1  # nothing else is there


# The index of a frame, and the condition


def test_the_index_of_a_frame_is_a_column_if_it_has_a_name(tmp_path):
    named = pd.DataFrame(X, columns=NAMES).set_index("height")
    named.to_parquet(tmp_path / "table.parquet")
    for source in (named, tmp_path / "table.parquet"):
        assert load(source).columns == ["height", "weight", "balance"]
        assert load(source, columns=["balance", "height"]).columns == ["balance", "height"]
    dated = pd.DataFrame(X, columns=NAMES, index=pd.date_range("2020", periods=60))
    assert any("the index of the frame" in remark for remark in load(dated).remarks)
    assert load(pd.DataFrame(X, columns=NAMES)[X[:, 0] > 1.5]).remarks == []  # rows that were picked
    assert load(pd.DataFrame(X, columns=["0", "1", "2"])).columns == ["0", "1", "2"]


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%d %H:%M:%S", "%d-%b-%y", "%B %d, %Y"])
@pytest.mark.parametrize("distinct", [3, 60])
def test_a_date_as_the_condition_is_a_number(form, distinct):
    days = pd.date_range("2012-01-01", periods=distinct, freq="D").strftime(form)
    table = frame(day=np.resize(days, 60)).astype({"day": object})
    data = load(table, condition=["day"])
    assert data.condition_dim == 1
    assert any("'day' of the condition holds dates: it is the number of days since 1970" in r for r in data.remarks)
    everything = torch.cat([data.condition.train, data.condition.validation, data.condition.test])
    assert set(everything.flatten().tolist()) == {15340.0 + k for k in range(distinct)}  # 2012-01-01 is day 15340
    if distinct == 3:
        assert load(table, condition=["day"], classes=["day"]).condition_dim == 3


def test_a_class_needs_rows(text):
    names = [f"person {k}" for k in range(60)]
    with pytest.raises(InputError, match="column 'who' of data has 60 classes in 60 rows"):
        load(frame(who=names), condition=["who"])
    with pytest.raises(InputError, match=r"column 'n' of .+ has 60 classes in 60 rows"):
        load(frame(n=SHUFFLED), condition=["n"], classes=["n"])
    assert load(frame(who=np.resize(names[:15], 60)), condition=["who"]).condition_dim == 15


def test_what_a_mask_hides_is_no_condition():
    encoding = Encoding(["age"], [[]], [40.0], [10.0])
    with pytest.raises(InputError, match=r"nan came in column 'age', row 2"):
        encoding(np.ma.masked_values([50.0, -9999.0], -9999.0), (2,))
