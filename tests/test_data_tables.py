"""Tables in files: what is written is read again, and what is wrong is named in one line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from genflow import InputError
from genflow.data import load, read, write
from genflow.data.atoms import duplicate_rows

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False, allow_subnormal=False)
ROWS = np.random.default_rng(0).normal(size=(30, 3)).round(6)
LINES = [",".join(f"{value:.6f}" for value in row) for row in ROWS]
BODY = "\n".join(LINES) + "\n"
HEADER = "age,height,mass\n"


@pytest.fixture
def text(tmp_path):
    def write_text(content: str, name: str = "table.csv", encoding: str = "utf-8"):
        path = tmp_path / name
        path.write_bytes(content.encode(encoding))
        return path

    return write_text


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt", ".parquet", ".npy"])
@given(values=arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=NUMBERS))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path, ending, values):
    path = tmp_path / f"table{ending}"
    names = ["one", "two words", 'quo"ted', "comma, too"][: values.shape[1]]
    write(path, values, names)
    again, columns = read(path)
    np.testing.assert_allclose(again, values, rtol=1e-15)
    assert columns == (names if ending not in (".npy", ".txt") else [f"x{j + 1}" for j in range(values.shape[1])])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    write(path, ROWS)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, 2 * ROWS)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("table.ods", "ending '.ods' is not supported"),
        ("nowhere/table.csv", "the folder .*nowhere does not exist"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        write(tmp_path / name, ROWS)
    with pytest.raises(InputError, match="2 column names came for 3 columns"):
        write(tmp_path / "table.csv", ROWS, ["a", "b"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("plain.csv", BODY, None),
        ("header.csv", HEADER + BODY, ["age", "height", "mass"]),
        ("quoted.csv", '"age, years","height",mass\n' + BODY, ["age, years", "height", "mass"]),
        ("semicolon.csv", (HEADER + BODY).replace(",", ";"), ["age", "height", "mass"]),
        ("german.csv", HEADER.replace(",", ";") + BODY.replace(",", ";").replace(".", ","), ["age", "height", "mass"]),
        ("tabs.tsv", (HEADER + BODY).replace(",", "\t"), ["age", "height", "mass"]),
        ("blanks.txt", "\n".join("  " + line.replace(",", "   ") + "  " for line in LINES), None),
        ("header.txt", (HEADER + BODY).replace(",", " "), ["age", "height", "mass"]),
        ("commas.txt", BODY.replace(",", " ").replace(".", ","), None),
        ("savetxt.txt", ("# " + HEADER + BODY).replace(",", " "), ["age", "height", "mass"]),
        ("comments.csv", "# measured on a Monday\n\n" + HEADER + BODY + "\n# the end\n", ["age", "height", "mass"]),
        ("windows.csv", "\ufeff" + (HEADER + BODY).replace("\n", "\r\n"), ["age", "height", "mass"]),
        ("spaces.csv", (HEADER + BODY).replace(",", " , "), ["age", "height", "mass"]),
        ("trailing.csv", BODY.replace("\n", ",\n"), None),
        ("no-newline.csv", BODY.rstrip(), None),
        ("year.csv", "age,height,1990\n" + BODY, ["age", "height", "1990"]),
    ],
)
def test_text_as_people_write_it(text, name, content, columns):
    values, found = read(text(content, name))
    np.testing.assert_array_equal(values, ROWS)
    assert found == (columns or ["x1", "x2", "x3"])


@pytest.mark.parametrize("header", [",a,b,c\n", "a,b,c\n"], ids=["pandas", "R"])
def test_a_nameless_count_of_rows_is_left_out(text, header):
    path = text(header + "\n".join(f"{i},{line}" for i, line in enumerate(LINES)))
    data = load(path)
    assert data.columns == ["a", "b", "c"]
    assert any("counts the rows" in remark for remark in data.remarks)


def test_columns_of_the_same_name_are_told_apart(text):
    assert read(text("a,b,a\n" + BODY))[1] == ["a", "b", "a.2"]


FIFTH = LINES[4].split(",")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + BODY.replace(FIFTH[1], "tall"), r"row 5 \(line 6\), column 'height': 'tall' is not a number; .+"),
        (BODY.replace(FIFTH[1], "tall"), r"row 5 \(line 5\), column 2: 'tall' is not a number; .+"),
        ("# note\n\n" + BODY.replace(FIFTH[1], "tall"), r"row 5 \(line 7\), column 2: 'tall' is not a number; .+"),
        ("x" + BODY, r"row 1 \(line 1\), column 1: 'x.+' is not a number; .+"),
        (HEADER + BODY.replace(FIFTH[1], ""), r"row 5 \(line 6\), column 'height': a missing value \(NaN\); .+"),
        (HEADER + BODY.replace(FIFTH[1], "NA"), r"row 5 \(line 6\), column 'height': a missing value \(NaN\); .+"),
        (BODY.replace(FIFTH[1], "nan"), r"row 5 \(line 5\), column 2: a missing value \(NaN\); .+"),
        (BODY.replace(FIFTH[2], "inf"), r"row 5 \(line 5\), column 3: inf; .+"),
        (BODY.replace(FIFTH[2], "-inf").replace(FIFTH[0], "inf"), r"row 5 \(line 5\), column 1: inf, and 1 more .+"),
        (HEADER + BODY.replace(LINES[4], LINES[4] + ",7"), "line 6 has 4 values, the lines before it have 3"),
        (HEADER + BODY.replace(LINES[4], "1,2"), "line 6 has 2 values, the first row has 3"),
        ("age,height,mass,more\n" + BODY, "the header names 4 columns, the rows have 3 values"),
        (HEADER + "1,2,3\n", "1 row came; at least 10 are needed to split into 80, 10 and 10 %"),
        ("1,2,3\n", "1 row came; at least 10 are needed to split into 80, 10 and 10 %"),
        (HEADER, "the file holds no rows, only a header"),
        ("", "the file is empty"),
        ("\n \n", "the file holds no numbers"),
        (HEADER + BODY.replace("\n", ",5\n"), "the header names 3 columns, the rows have 4 values"),
        ("a\n" + "5\n" * 12, r"column 'a' is constant \(5\); .+"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text, content, message):
    path = text(content)
    with pytest.raises(InputError, match=rf"^{path}: {message}$"):
        load(path, missing="refuse")


def test_binary_content_is_no_text(text):
    with pytest.raises(InputError, match="not text in UTF-8"):
        load(text("".join(map(chr, range(256))), encoding="latin-1"))


@pytest.mark.parametrize("name", ["table.parquet", "table.npy"])
def test_damaged_files(text, name):
    with pytest.raises(InputError, match=rf"{name}: it can't be read as .+"):
        load(text("hello", name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.csv", "no such file"),
        ("folder.csv", "a folder without pictures"),
        ("table.ods", "ending '.ods' is not supported; give one of .csv .+"),
        ("README", "ending '' is not supported"),
    ],
)
def test_paths_that_name_no_table(tmp_path, name, message):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=message):
        load(tmp_path / name)


@pytest.mark.parametrize("column", [[1 + 2j] * 30, [[1, 2]] * 30])
def test_columns_of_a_frame_that_are_no_numbers(column):
    frame = pd.DataFrame(ROWS, columns=["a", "b", "c"]).assign(extra=column)
    with pytest.raises(InputError, match=r"column 'extra': .+ leave (it|the column) out with drop="):
        load(frame)
    assert load(frame, columns=["a", "c"]).columns == ["a", "c"]
    assert load(frame, drop="extra").columns == ["a", "b", "c"]


@pytest.mark.parametrize(
    "source",
    [
        ROWS,
        ROWS.tolist(),
        torch.from_numpy(ROWS),
        torch.from_numpy(ROWS).requires_grad_(),
        pd.DataFrame(ROWS),
        pd.DataFrame(ROWS, columns=list("abc")),
    ],
    ids=["array", "list", "tensor", "gradient", "frame", "named"],
)
def test_what_is_in_memory_is_as_good_as_a_file(source, text):
    expected = load(text(BODY))
    data = load(source)
    assert torch.equal(data.train, expected.train)
    assert torch.equal(data.test, expected.test)
    assert not data.train.requires_grad


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (ROWS.astype(complex), "an array of complex128 came"),
        (np.array(["a"]), "1 row came"),
        (ROWS[:0], r"an array of the shape \(0, 3\) came"),
        (ROWS[None], r"an array of the shape \(1, 30, 3\) came"),
        ([[1, 2], [3]], "rows of different length"),
        (3, "an object of the type int came"),
        (None, "an object of the type NoneType came"),
    ],
)
def test_what_is_no_table(source, message):
    with pytest.raises(InputError, match=message):
        load(source)


@pytest.mark.parametrize("kind", [float, int])
def test_what_a_mask_hides_is_missing(kind):
    values = (1000 * ROWS).astype(kind)
    values[4, 1] = -9999
    for masked in (np.ma.masked_values(values, -9999), np.ma.masked_equal(values, -9999)):
        with pytest.raises(InputError, match=r"data: row 5, column 2: a missing value \(NaN\); .+"):
            load(masked, missing="refuse")
        with pytest.raises(InputError, match=r"test: row 5, column 2: a missing value"):
            load(1000 * ROWS, test=masked)
    nothing = np.ma.masked_array(ROWS)
    assert torch.equal(load(nothing).train, load(ROWS).train)


def test_columns_are_found_by_name_else_by_position(text):
    named, plain = text(HEADER + BODY, "named.csv"), text(BODY, "plain.csv")
    np.testing.assert_array_equal(read(named, ["mass", "age"])[0], ROWS[:, [2, 0]])
    np.testing.assert_array_equal(read(named, ["x1", "x2", "x3"])[0], ROWS)
    np.testing.assert_array_equal(read(plain, ["x3", "x1"])[0], ROWS[:, [2, 0]])
    values, columns = read(plain, ["age", "height", "mass"])
    np.testing.assert_array_equal(values, ROWS)
    assert columns == ["age", "height", "mass"]
    with pytest.raises(InputError, match="3 columns came, 2 are wanted: age, height"):
        read(plain, ["age", "height"])
    with pytest.raises(InputError, match="missing columns: weight; not asked for: mass"):
        read(named, ["age", "height", "weight"])


def test_a_file_to_be_scored_may_have_text_in_other_columns(text):
    body = "\n".join(f"{line},someone" for line in LINES)
    path = text("age,height,mass,name\n" + body)
    np.testing.assert_array_equal(read(path, ["age", "mass"])[0], ROWS[:, [0, 2]])


def test_one_row_can_be_scored(text):
    assert read(text("age,height,mass\n1,2,3\n"))[0].tolist() == [[1, 2, 3]]
    assert read(text("1 2 3\n", "row.txt"))[0].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["weight"], "no column 'weight'; it has age, height, mass"),
        ([3], "no column 3; it has age, height, mass, at positions 0 to 2"),
        ([-1], "no column -1; it has age, height, mass, at positions 0 to 2"),
        (["-1"], "no column '-1'; it has age, height, mass, at positions 0 to 2"),
        ([], "columns is empty"),
        (["age", 0], "a column is asked for twice in age, age"),
    ],
)
def test_columns_that_are_not_there(text, columns, message):
    with pytest.raises(InputError, match=message):
        load(text(HEADER + BODY), columns=columns)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_rows_that_repeat_are_those_that_pandas_finds(kind):
    rows = np.random.default_rng(0).integers(-1, 3, size=(200, 3)).astype(kind)
    rows[::7] *= -1  # of a floating-point zero, that with a sign
    np.testing.assert_array_equal(duplicate_rows(rows), pd.DataFrame(rows).duplicated())
    assert not len(duplicate_rows(rows[:0]))
