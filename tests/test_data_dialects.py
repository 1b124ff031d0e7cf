"""Files as people leave them: preambles, units, two headers, colons, signs of money, dates, compressed, Excel."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch

import genflow as gf
from genflow import InputError
from genflow.data import load, write

N = 40
RNG = np.random.default_rng(0)
X, K = RNG.normal(10, 3, N).round(2), RNG.integers(0, 200, N)
C = RNG.choice(["red", "green", "blue"], N)
BODY = "\n".join(f"{x},{k},{c}" for x, k, c in zip(X, K, C)) + "\n"
HEAD = "x,k,c\n"
DAYS = pd.date_range("2020-01-20", periods=N)


@pytest.fixture
def file(tmp_path):
    def write_file(content: str | bytes, name: str = "table.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def rows(data) -> np.ndarray:
    """The rows in the order in which they came."""
    whole = torch.cat(list(data.parts().values())).numpy()
    return whole[np.argsort(np.random.default_rng(0).permutation(len(whole)))]


def check(data, names=("x", "k", "c")) -> None:
    assert data.columns == list(names)
    found = rows(data)
    np.testing.assert_array_equal(found[:, 0], X)
    np.testing.assert_array_equal(found[:, 1], K)
    assert [data.schema.columns[2].classes[int(place)] for place in found[:, 2]] == C.tolist()
    assert [column.kind for column in data.schema.columns] == ["continuous", "integer", "class"]


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        (HEAD + BODY, ""),
        (
            "My report\nCreated 2020-01-01\n\n" + HEAD + BODY,
            "the first 2 lines, My report Created 2020-01-01, left out",
        ),
        ("A title,,\n" + HEAD + BODY, "the first line, A title, left out"),
        (HEAD + BODY + "Source: me\n", "line 42, Source: me, left out"),
        (HEAD + "mm,-,name\n" + BODY, "the line below the names, mm, -, name, holds units"),
        (HEAD.replace("x", "x,").replace(",,", ",") + "(cm),(1),(2)\n" + BODY, "(cm), (1), (2), holds units"),
        ((HEAD + BODY).replace(",", ":"), ""),
        ((HEAD + BODY).replace(",", ";"), ""),
        ((HEAD + BODY).replace(",", "|"), ""),
        ((HEAD + BODY).replace(".", "COMMA").replace(",", ";").replace("COMMA", ","), ""),
        ("sep=;\n" + (HEAD + BODY).replace(",", ";"), ""),
        (HEAD + BODY + ",,\n,,\n", "2 rows without any value: left out"),
        ("# of a Monday\n" + HEAD + BODY, ""),
        ("\ufeff" + HEAD + BODY.replace("\n", "\r\n"), ""),
    ],
)
def test_one_table_in_many_dialects(file, content, remark):
    data = load(file(content))
    check(data)
    said = [text for text in data.remarks if "repeat" not in text]
    assert len(said) == bool(remark)
    assert remark in "".join(said)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("title", ["", "Monthly report\n"])
@pytest.mark.parametrize("cell", ["EUR {x} 941,80", "0.1257, {k}.1649", "{k}, {k}, {k}", "{x},5 or so, 7"])
def test_what_the_names_have_not_separates_nothing(file, separator, title, cell):
    """Commas and blanks within fields, though by them more fields would be numbers."""
    body = "".join(f"{k},13{separator}{cell.format(x=x, k=k)}\n" for k, x in enumerate(X))
    table = gf.data.reading.read_table(file(f"{title}a{separator}b\n{body}"))
    assert table.columns == ["a", "b"]
    np.testing.assert_array_equal(table.values[:, 0], np.arange(N) + 0.13)


def test_a_comma_in_a_title_separates_nothing(file):
    data = load(file("Report, 2020\nx;k\n" + "".join(f"{k},5;{k % 7} a\n" for k in range(N))))
    assert data.columns == ["x", "k"]


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("Body,,Label\nx,k,c\n", ["Body x", "Body k", "Label c"]),
        ("A,A,B\nx,k,c\n", ["A x", "A k", "B c"]),
    ],
)
def test_two_lines_of_names(file, head, names):
    data = load(file(head + BODY))
    check(data, names)
    assert any("the second line, x, k, c, holds names, too" in remark for remark in data.remarks)


def test_no_line_of_names_is_said(file):
    data = load(file(BODY))
    check(data, ["x1", "x2", "x3"])
    assert any("is read as a row, not as names" in remark for remark in data.remarks)


def test_the_first_line_of_scikit_learn(file):
    codes = {"red": 0, "green": 1, "blue": 2}
    body = "\n".join(f"{x},{k},{codes[c]}" for x, k, c in zip(X, K, C))
    data = load(file(f"{N},2,red,green,blue\n{body}"))
    check(data, ["x1", "x2", "x3"])
    assert any("counts rows and columns" in remark for remark in data.remarks)


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        (lambda x: f"{x:.2f}%", "continuous"),
        (lambda x: f"{x:.2f} %", "continuous"),
        (lambda x: f"${x:.2f}", "continuous"),
        (lambda x: f"{x:.2f} \u20ac", "continuous"),
        (lambda x: f"-${x:.2f}", "continuous"),
        (lambda x: f"\u2212{x:.2f}", "continuous"),
        (lambda x: "-" if x < 6 else f"{x:.2f}", "continuous"),
        (lambda x: "n.d." if x < 6 else f"{x:.2f}", "continuous"),
        (lambda x: "unknown" if x < 6 else f"{x:.2f}", "continuous"),
        (lambda x: "?" if x < 6 else f"{x:.2f}", "continuous"),
    ],
)
def test_numbers_with_signs_and_words_among_them(file, cell, kind):
    cells = [cell(x) for x in X]
    data = load(file("x,c\n" + "\n".join(f"{text},{c}" for text, c in zip(cells, C))))
    expected = [np.nan if "." not in text or text == "n.d." else x for text, x in zip(cells, X)]
    found = rows(data)[:, 0]
    np.testing.assert_array_equal(np.abs(found), expected)
    assert (data.schema.columns[0].kind, data.schema.columns[0].missing) == (kind, bool(np.isnan(expected).any()))


@pytest.mark.parametrize("stray", ["-", "n.d.", "k.A.", "unknown", "#N/A"])
@pytest.mark.parametrize("dress", ["{} %", "${}", "{} \u20ac", "{} kg", "({})", "{}"])
@pytest.mark.parametrize("first", [0, 3])
def test_a_few_words_among_numbers_are_missing_whatever_stands_beside_these(file, stray, dress, first):
    """In the first row, too, and under a kind that is said."""
    cells = [dress.format(x) if k % 4 or dress != "({})" else str(x) for k, x in enumerate(X)]
    gone = {first, first + 20}
    body = "".join(f"{stray if k in gone else cell};{k % 7}\n" for k, cell in enumerate(cells))
    path = file("x;k\n" + body)
    negative = np.array([cell.startswith("(") for cell in cells])
    expected = np.where([k in gone for k in range(N)], np.nan, np.where(negative, -X, X))
    for kinds in ({}, {"x": "continuous"}):
        data = load(path, kinds=kinds)
        np.testing.assert_array_equal(rows(data)[:, 0], expected)
        assert data.schema.columns[0].sign == dress.replace("({})", "").format("").strip()
        said = any(f"row {first + 1} (line {first + 2}), column 'x': '{stray}', and 1 more" in r for r in data.remarks)
        assert said == (stray in ("k.A.", "unknown"))
    with pytest.raises(InputError, match="column 'x': "):
        load(path, missing="refuse")


@pytest.mark.parametrize("dress", ["{}", "{} %"])
def test_gaps_among_numbers_are_no_strays(file, dress):
    """However many they are, one word beside them is a stray."""
    cells = [["-", "n.d."][k % 2] if k % 3 == 0 else "unknown" if k == 7 else dress.format(x) for k, x in enumerate(X)]
    data = load(file("x;k\n" + "".join(f"{cell};{k % 7}\n" for k, cell in enumerate(cells))))
    np.testing.assert_array_equal(rows(data)[:, 0], [np.nan if k % 3 == 0 or k == 7 else x for k, x in enumerate(X)])
    assert any("row 8 (line 9), column 'x': 'unknown' is no number: read as missing" in r for r in data.remarks)


@pytest.mark.parametrize("other", ["13", "13 g", "$13"])
def test_numbers_with_another_unit_are_no_strays(file, other):
    body = "".join(f"{other if k == 7 else f'{x} kg'};{k};{k % 7}\n" for k, x in enumerate(X))
    assert "x" not in load(file("x;y;k\n" + body)).columns


def test_a_number_that_is_misspelt_is_missing_or_refused(file):
    path = file(HEAD + BODY.replace(str(X[3]), "1O.5"))
    data = load(path)
    assert rows(data)[:, 0].tolist() == pytest.approx([np.nan if k == 3 else x for k, x in enumerate(X)], nan_ok=True)
    assert any("row 4 (line 5), column 'x': '1O.5' is no number: read as missing" in r for r in data.remarks)
    with pytest.raises(InputError, match=r"row 4 \(line 5\), column 'x': '1O.5' is not a number; .+drop="):
        load(path, missing="refuse")
    assert load(path, drop="x", missing="refuse").columns == ["k", "c"]


def test_several_tabs_between_numbers(file):
    tabs = ["\t\t" if j == 7 else "\t" for j in range(N)]
    body = "\n".join(f"{x}{tab}{k}\t{x + 1:.2f}" for x, k, tab in zip(X, K, tabs))
    np.testing.assert_array_equal(rows(load(file(body, "seeds.txt")))[:, :2], np.column_stack([X, K]))


def test_the_old_format_of_excel_is_named(file):
    with pytest.raises(InputError, match=r"save it as \.xlsx"):
        load(file("x", "table.xls"))


def test_a_word_among_few_numbers_makes_classes_of_them(file):
    doors = np.resize(["2", "3", "4", "5more"], N)
    data = load(file("x,doors\n" + "\n".join(f"{x},{d}" for x, d in zip(X, doors))))
    assert data.schema.columns[1].classes == ("2", "3", "4", "5more")
    assert any("column 'doors': numbers and words (5more): each is the name of a class" in r for r in data.remarks)


def test_a_sign_is_a_class_where_there_are_no_numbers(file):
    data = load(file("x,s\n" + "\n".join(f"{x},{'+' if k > 90 else '-'}" for x, k in zip(X, K))))
    assert data.schema.columns[1].classes == ("+", "-")


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y", "%Y/%m/%d", "%d-%b-%Y", "%b %d %Y", "%B %d, %Y", "%d %B %Y",
        "%-d.%-m.%Y", "%-m/%-d/%y", "%d%b%Y",
    ],
)  # fmt: skip
def test_dates_come_back_as_they_were_written(file, form):
    """From the 20th of January on: no notation but the right one reads all of them."""
    body = "\n".join(f'"{day.strftime(form)}",{x}' for day, x in zip(DAYS, X))
    data = load(file("day,x\n" + body))
    column = data.schema.columns[0]
    assert (column.kind, column.unit, column.format) == ("date", "days", form)
    np.testing.assert_array_equal(rows(data)[:, 0], 18281 + np.arange(N))  # days from 1970-01-01 to 2020-01-20
    assert data.schema.frame(rows(data))["day"].tolist() == [day.strftime(form) for day in DAYS]


@pytest.mark.parametrize("joined", [int, str])
def test_dates_without_separators_keep_their_zeros(file, joined):
    """The 11th of January and the 1st of November are not written alike, be they numbers in a frame or text."""
    days = pd.date_range("2022-01-01", periods=334)
    cells = [joined(day.strftime("%Y%m%d")) for day in days]
    frame = pd.DataFrame({"d": cells, "x": np.arange(334) * 0.5})
    for source in (frame, file(frame.to_csv(index=False))):
        data = load(source, kinds={"d": "date"})
        assert data.schema.columns[0].format == "%Y%m%d"
        assert data.schema.frame(rows(data))["d"].tolist() == list(map(str, cells))
        assert data.schema.columns[0].number("20221101") == 19297  # days from 1970-01-01 to 2022-11-01


@pytest.mark.parametrize(("form", "first"), [("%Y%m", "11-11"), ("%y%m%d", "11-11"), ("%Y%-m%-d", "11-01")])
def test_dates_with_digits_missing_are_not_guessed(file, form, first):
    """2022111 is in January or in November, 202211 is a month, 221111 a day of another century."""
    days = pd.date_range(f"2022-{first}", periods=19)
    path = file("d,x\n" + "".join(f"{day.strftime(form)},{x}\n" for day, x in zip(days, X)))
    with pytest.raises(InputError, match=r"column 'd': '.+' is not a date"):
        load(path, kinds={"d": "date"})
    with pytest.raises(InputError, match="2022111"):
        gf.data.Column("d", "date", unit="days", format="%Y%m%d").number("2022111")


@pytest.mark.parametrize(
    ("form", "step", "unit"),
    [
        ("%Y-%m-%d %H:%M:%S", "7s", "seconds"),
        ("%Y-%m-%dT%H:%M:%SZ", "1h", "hours"),
        ("%d/%m/%Y %H:%M", "30min", "minutes"),
        ("%Y-%m-%d %H:%M:%S.%f", "1us", "microseconds"),
        ("%m/%d/%Y %I:%M %p", "1h", "hours"),
        ("%Y-%m", "MS", "days"),
    ],
)
def test_what_a_date_counts_is_what_is_recorded(file, form, step, unit):
    stamps = pd.date_range("2020-01-31 00:00", periods=N, freq=step)
    data = load(file("when,x\n" + "\n".join(f"{stamp.strftime(form)},{x}" for stamp, x in zip(stamps, X))))
    column = data.schema.columns[0]
    assert (column.kind, column.unit, column.format) == ("date", unit, form)
    assert data.schema.frame(rows(data))["when"].tolist() == stamps.strftime(form).tolist()


def test_times_of_day_and_dates_with_gaps(file):
    cells = [f"{k % 24:02d}.{k % 2 * 30:02d}.00" if k % 5 else "" for k in range(N)]
    data = load(file("time,x\n" + "\n".join(f"{cell},{x}" for cell, x in zip(cells, X))))
    column = data.schema.columns[0]
    assert (column.kind, column.unit, column.missing) == ("date", "minutes", True)
    again = data.schema.frame(rows(data))["time"]
    assert ["" if pd.isna(cell) else cell for cell in again] == cells


def test_the_day_or_the_month_first(file):
    ordered = pd.date_range("2020-01-01", periods=12)
    american = "\n".join(f"{day.month}/{day.day}/{day.year},{x}" for day, x in zip(ordered, X))
    assert load(file("d,x\n" + american)).schema.columns[0].format == "%-m/%-d/%Y"
    british = "\n".join(f"{day.day}/{day.month}/{day.year},{x}" for day, x in zip(ordered, X))
    data = load(file("d,x\n" + british))
    assert data.schema.columns[0].format == "%-d/%-m/%Y"  # by which the rows are in order
    shuffled = "\n".join(sorted(american.splitlines(), key=lambda line: line[::-1]))
    assert any("with the month first" in remark for remark in load(file("d,x\n" + shuffled)).remarks)


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zip"])
def test_compressed_files(file, ending):
    content = (HEAD + BODY).encode()
    if ending == ".zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("read me.md", "hello")
            archive.writestr("folder/table.csv", content)
        content = buffer.getvalue()
    else:
        content = {".gz": gzip, ".bz2": bz2, ".xz": lzma}[ending].compress(content)
    data = load(file(content, f"table.csv{ending}"))
    check(data)
    assert data.name == "table"
    with pytest.raises(InputError, match=f"table.csv{ending}: it can't be read as a {ending} file"):
        load(file(b"hello", f"table.csv{ending}"))


FRAME = pd.DataFrame({"x": X, "k": K, "c": C})


@pytest.mark.parametrize("ending", [".parquet", ".feather", ".arrow", ".xlsx"])
def test_other_files(tmp_path, ending):
    import pyarrow as pa

    path = tmp_path / f"table{ending}"
    if ending == ".parquet":
        FRAME.to_parquet(path)
    elif ending == ".feather":
        FRAME.to_feather(path)
    elif ending == ".arrow":
        table = pa.Table.from_pandas(FRAME)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        FRAME.to_excel(path, index=False)
    check(load(path))
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match="it can't be read as"):
        load(path)


def test_the_sheets_of_an_excel_file(tmp_path):
    path = tmp_path / "book.xlsx"
    dated = FRAME.assign(when=DAYS, note=[f"note {k}" for k in range(N)])
    with pd.ExcelWriter(path) as book:
        pd.DataFrame({"About": ["a text"]}).to_excel(book, sheet_name="about", index=False)
        dated.to_excel(book, sheet_name="data", index=False, startrow=3)
        FRAME.to_excel(book, sheet_name="more", index=False)
    data = load(path)
    assert data.columns == ["x", "k", "c", "when"]
    assert any("sheet 'data' is read, 2 of 3; sheet= names another" in remark for remark in data.remarks)
    again = data.schema.frame(rows(data))
    assert (again["when"] == DAYS).all()
    assert again["when"].dtype.kind == "M"
    check(load(path, sheet="more"))
    check(load(path, sheet=2))
    with pytest.raises(InputError, match="sheet: 'none' came; about, data, more would do"):
        load(path, sheet="none")


def test_several_arrays_of_a_file(tmp_path):
    np.savez(tmp_path / "one.npz", FRAME[["x", "k"]].to_numpy())
    assert load(tmp_path / "one.npz").columns == ["x1", "x2"]
    np.savez(tmp_path / "two.npz", x=FRAME[["x", "k"]].to_numpy(), y=K)
    data = load(tmp_path / "two.npz", kinds={"y": "class"})
    assert data.columns == ["x_1", "x_2", "y"]
    assert data.schema.columns[2].kind == "class"
    np.savez(tmp_path / "other.npz", x=X, y=K[:7])
    with pytest.raises(InputError, match="arrays of different lengths came"):
        load(tmp_path / "other.npz")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".xlsx"])
def test_samples_are_written_as_the_table(tmp_path, ending):
    frame = pd.DataFrame({
        "2019": X, "k": pd.Series(K, dtype="Int64").mask(K < 40), "c": C, "=now": DAYS,
        "flag": K > 90, "label": pd.Categorical(C),
    })  # fmt: skip
    path = tmp_path / f"samples{ending}"
    write(path, frame)
    data = load(path)
    assert data.columns == frame.columns.tolist()
    kinds = ["continuous", "integer", "class", "date", "boolean", "class"]
    assert [column.kind for column in data.schema.columns] == kinds
    again = data.schema.frame(rows(data))
    np.testing.assert_array_equal(again["2019"], X)
    np.testing.assert_array_equal(again["k"].isna(), K < 40)
    assert pd.to_datetime(again["=now"]).tolist() == DAYS.tolist()


CODES = [f"{code:05d}" for code in RNG.choice([501, 1234, 10001, 94110], N)]


@pytest.mark.parametrize("lines", [1, 2000])  # a long text is read in another way
def test_codes_of_one_length_keep_their_zeros(file, lines):
    body = "".join(f"{x},{code}\n" for x, code in zip(X, CODES)) * lines
    path = file("x,zip\n" + body)
    data = load(path)
    assert [column.kind for column in data.schema.columns] == ["continuous", "integer"]
    if lines == 1:
        again = data.schema.frame(rows(data))
        assert again["zip"].tolist() == CODES
        fitted = gf.baselines.Gaussian(2).fit(data, iterations=1)
        samples = fitted.sample_frame(50)
        assert set(samples["zip"]) <= set(CODES)
        assert fitted.log_prob(samples).isfinite().all()
    assert data.schema.columns[1].format == "05d"


def test_codes_with_gaps_as_classes_as_a_constant_and_as_a_condition(file):
    gaps = [code if k % 7 else "" for k, code in enumerate(CODES)]
    path = file("x,zip,one\n" + "".join(f"{x},{code},007\n" for x, code in zip(X, gaps)))
    data = load(path)
    again = data.schema.frame(rows(data))
    assert again["zip"].fillna("").tolist() == gaps
    assert set(again["one"]) == {"007"}
    assert load(path, kinds={"zip": "class"}, drop=["one"]).schema.columns[1].classes == tuple(sorted(set(CODES)))
    given = load(file("x,zip\n" + "".join(f"{x},{code}\n" for x, code in zip(X, CODES))), condition=["zip"])
    fitted = gf.baselines.NSF(1, width=8, transforms=1, condition_dim=given.condition_dim).fit(given, iterations=1)
    assert set(fitted.sample_frame(3, ["00501"])["zip"]) == {"00501"}


@pytest.mark.parametrize("cells", [["007", "12"], ["0", "7"], ["00.5", "01.5"], ["0", "00"]])
def test_numbers_of_other_lengths_are_numbers(file, cells):
    data = load(file("x,k\n" + "".join(f"{x},{cells[k % 2]}\n" for k, x in enumerate(X))))
    assert data.schema.columns[1].format == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "<html>\n<body>\n" + "".join(f"<p>paragraph {k}</p>\n" for k in range(30)),
            "another word in nearly every row",
        ),
        (
            "".join(f"Sentence {k}, which says nothing.\n" for k in range(30)),
            "which says nothing|another word|constant",
        ),
        ("\x00\x01\x02" * 50, "the file holds no rows"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(file, content, message):
    with pytest.raises(InputError, match=message) as caught:
        load(file(content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stray", "share"), [("2020-02-30 10:00", 0.02), ("0000-00-00 00:00", 0.06), ("unknown", 0.06)]
)
def test_a_few_words_among_dates_are_missing(file, stray, share):
    days = pd.date_range("2020-01-20 08:00", periods=N, freq="7h").strftime("%Y-%m-%d %H:%M").tolist()
    strange = set(range(0, N, max(1, round(1 / share))))
    body = "".join(f"{x},{stray if k in strange else day}\n" for k, (x, day) in enumerate(zip(X, days)))
    path = file("x,t\n" + body)
    data = load(path)
    column = data.schema.columns[1]
    assert (column.kind, column.missing) == ("date", True)
    assert any(f"'{stray}'" in remark and "is no date: read as missing" in remark for remark in data.remarks)
    again = data.schema.frame(rows(data))["t"]
    assert [k for k, gone in enumerate(again.isna()) if gone] == sorted(strange)
    with pytest.raises(InputError, match=stray.split()[0]):
        load(path, missing="refuse")


def test_words_among_which_dates_are_few_stay_words(file):
    words = [f"note {k}" if k % 3 else "2020-01-01" for k in range(N)]
    data = load(file("x,y,t\n" + "".join(f"{x},{k},{word}\n" for x, k, word in zip(X, K, words))))
    assert "t" not in data.columns


# Text as it is drawn and put together

DRAWN = {
    "Markdown": ("| x | k | c |\n|---|:-:|--:|\n", "| {} | {} | {} |\n", ""),
    "a grid": ("+---+---+---+\n| x | k | c |\n+===+===+===+\n", "| {} | {} | {} |\n+---+---+---+\n", ""),
    "a database": (" x | k | c \n---+---+---\n", " {} | {} | {} \n", ""),
    "blanks": ("=== === ===\nx k c\n=== === ===\n", "{} {} {}\n", "=== === ===\n"),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("times", [1, 2])
def test_lines_that_are_drawn_are_no_rows(file, name, times):
    """Nor is the header, where a file holds such a table twice."""
    head, row, end = DRAWN[name]
    body = [row.format(*each) for each in zip(X, K, C)]
    half = N if times == 1 else N // 2
    check(load(file(head + "".join(body[:half]) + end + (head + "".join(body[half:]) + end if times == 2 else ""))))


def test_a_row_of_gaps_is_not_drawn(file):
    data = load(file("x k\n" + "".join(f"{x} {k}\n" for x, k in zip(X, K)) + "-- --\n"))
    assert np.isnan(rows(data)[-1]).all()


def test_a_header_within_the_table_is_no_row(file):
    lines = BODY.splitlines(keepends=True)
    path = file(HEAD + "".join(lines[:15]) + HEAD + "".join(lines[15:30]) + HEAD + "".join(lines[30:]))
    with pytest.warns(gf.errors.Remark, match="line 17 has the names of the columns again, and 1 more like it: left"):
        check(load(path))


SUMS = f"{X.sum():.2f},{K.sum()}"


@pytest.mark.parametrize(
    "last", [f"{SUMS},Total", f"{SUMS},SUM:", f"{X.mean():.2f},{K.mean()},Average", f"{X.sum():.1f},,Sum"]
)
def test_a_last_row_of_sums_is_no_row(file, last):
    with pytest.warns(gf.errors.Remark, match="line 42, .+ holds the sums or means of the rows above it: left out"):
        check(load(file(HEAD + BODY + last + "\n")))


@pytest.mark.parametrize("dress", ["{}", "{} kg"])
def test_a_last_row_of_sums_has_gaps_as_rows_have(file, dress):
    """A column without a sum has a gap there, whatever stands for it, and a sum is that of the numbers above."""
    marked = [("-" if k == 4 else dress.format(x), x) for k, x in enumerate(X)]
    body = "".join(f"{cell},{x},{k}\n" for (cell, x), k in zip(marked, K))
    for total in ("-", dress.format(f"{X.sum() - X[4]:.2f}")):
        with pytest.warns(gf.errors.Remark, match="line 42, Total, holds the sums or means of the rows above it"):
            load(file("m,x,k,c\n" + body.replace("\n", ",a\n") + f"{total},{SUMS},Total\n"))


def test_a_last_row_of_sums_without_a_word(file):
    path = file("c,x,k\n" + "".join(f"{c},{x},{k}\n" for x, k, c in zip(X, K, C)) + f",{SUMS}\n")
    with pytest.warns(gf.errors.Remark, match="line 42 holds the sums or means of the rows above it: left out"):
        assert len(rows(load(path))) == N


@pytest.mark.parametrize("last", [f"{X.sum():.2f},{K.sum() + 1},Total", "10.1,7,Total", ",,Total"])
def test_what_is_only_called_a_total_stays(file, last):
    with pytest.warns(gf.errors.Remark, match="line 42, Total, looks like sums of the rows above it, and is not"):
        assert len(rows(load(file(HEAD + BODY + last + "\n")))) == N + 1


def test_a_class_called_total_is_none(file, recwarn):
    load(file(HEAD + BODY.replace("red", "total") + f"{X[0]},{K[0] + 1},total\n"))
    assert not any("sums" in str(warning.message) for warning in recwarn)


# Moments

MOMENTS = pd.Timestamp("2024-03-29", tz="UTC") + pd.to_timedelta(7 * np.arange(N), "h")
OFFSETS = {
    "ISO 8601": lambda moment: moment.isoformat(),
    "without seconds": lambda moment: moment.strftime("%d/%m/%Y %H:%M") + moment.isoformat()[-6:],
    "without a colon": lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S %z"),
    "PostgreSQL": lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S%z")[:-2],
    "Z": lambda moment: moment.isoformat().replace("+00:00", "Z"),
}


@pytest.mark.parametrize("zone", ["Europe/Vienna", "Europe/London", "America/St_Johns", "UTC", "Etc/GMT-1"])
@pytest.mark.parametrize("name", [name for name in OFFSETS if name != "Z"])
def test_times_with_offsets_are_moments(file, zone, name):
    """Across daylight saving, before it and behind it; samples have the one offset, or UTC where there are two."""
    if name == "PostgreSQL" and zone == "America/St_Johns":
        pytest.skip("its offset is no whole hour")
    texts = [OFFSETS[name](moment) for moment in MOMENTS.tz_convert(zone)]
    path = file("x,at\n" + "".join(f"{x},{text}\n" for x, text in zip(X, texts)))
    data = load(path)
    column = data.schema.columns[1]
    assert (column.kind, column.unit) == ("date", "hours")
    np.testing.assert_array_equal(rows(data)[:, 1], MOMENTS.as_unit("s").asi8 / 3600)
    found = column.series(rows(data)[:, 1])
    if zone in ("UTC", "Etc/GMT-1"):
        assert found.tolist() == texts
    else:
        assert (pd.to_datetime(found, utc=True, dayfirst="/" in found[0]) == MOMENTS).all()


def test_moments_of_another_file_count_as_those_of_the_first(file):
    """Whatever the offsets that either writes."""

    def written(zone, name):
        texts = [OFFSETS[name](moment) for moment in MOMENTS.tz_convert(zone)]
        return file("x,at\n" + "".join(f"{x},{text}\n" for x, text in zip(X, texts)), f"{zone.replace('/', '')}.csv")

    data = load(written("Etc/GMT-1", "ISO 8601"))
    for zone, name in (
        ("Europe/Vienna", "ISO 8601"),
        ("Etc/GMT-1", "PostgreSQL"),
        ("UTC", "Z"),
        ("Europe/London", "Z"),
    ):
        other = gf.data.rows_of(written(zone, name), data.columns, schema=data.schema)[0]
        np.testing.assert_array_equal(other.numpy(), rows(data))
    assert data.schema.columns[1].number("2024-03-29T02:00:00+01:00") == MOMENTS.as_unit("s").asi8[0] / 3600 + 1


# Files and folders that are something else


@pytest.mark.parametrize("kind", [".gz", ".bz2", ".xz", ".zip", ".parquet", ".xlsx", ".arrow"])
def test_a_file_of_another_kind_than_its_ending_says(file, tmp_path, kind):
    frame = pd.DataFrame({"x": X, "k": K, "c": C})
    content = (HEAD + BODY).encode()
    if kind in (".gz", ".bz2", ".xz"):
        content = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[kind](content)
    elif kind == ".zip":
        with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
            archive.writestr("rows.csv", content)
        content = buffer.getvalue()
    elif kind == ".arrow":
        pa = pytest.importorskip("pyarrow")
        with pa.ipc.new_file(buffer := io.BytesIO(), (table := pa.Table.from_pandas(frame)).schema) as writer:
            writer.write_table(table)
        content = buffer.getvalue()
    else:
        write(tmp_path / f"rows{kind}", frame)
        content = (tmp_path / f"rows{kind}").read_bytes()
    with pytest.warns(gf.errors.Remark, match=f"table.csv is no text, but a {kind} file: it is read as such"):
        check(load(file(content)))


def test_folders_without_pictures_say_what_they_are(tmp_path, file):
    """Each in one line that says what would do."""
    cases = {"": "an empty name came; the path of a table or a picture, or a built-in name, would do"}
    for name, holds in (("nothing", ""), ("some.tables", "rows.csv"), ("run", "model.json")):
        (tmp_path / name).mkdir()
        if holds:
            (tmp_path / name / holds).write_text("{}")
    cases[tmp_path / "nothing"] = "is a folder without pictures; one with pictures, or a file, would do"
    cases[tmp_path / "some.tables"] = "is a folder without pictures; a file in it, such as rows.csv, would do"
    cases[tmp_path / "run"] = "is the folder of a model, no data; genflow.load reads it"
    for source, message in cases.items():
        with pytest.raises(InputError, match=f"^data: .*{message}$"):
            load(source)


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M", "%d/%m/%Y %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])
def test_the_end_of_a_day_is_the_beginning_of_the_next(file, form):
    """ISO 8601, and tables of weather and of power."""
    hours = pd.Timestamp("2023-12-31") + pd.to_timedelta(np.arange(1, N + 1), "h")
    texts = [
        moment.strftime(form) if moment.hour else (moment - pd.Timedelta(days=1)).strftime(form.replace("%H", "24"))
        for moment in hours
    ]
    data = load(file("x,at\n" + "".join(f"{x},{text}\n" for x, text in zip(X, texts))))
    np.testing.assert_array_equal(rows(data)[:, 1], hours.as_unit("s").asi8 / 3600)
    assert any(f"{texts[23]} is read as 00:00 of the next day" in remark for remark in data.remarks)


def test_a_clock_that_counts_to_24_is_at_midnight(file):
    data = load(file("x,at\n" + "".join(f"{x},{1 + k % 24:02}:00\n" for k, x in enumerate(X))))
    column = data.schema.columns[1]
    assert (column.kind, column.unit, column.missing) == ("date", "hours", False)
    np.testing.assert_array_equal(rows(data)[:, 1], (1 + np.arange(N)) % 24)
    assert any("24:00 is read as 00:00" in remark for remark in data.remarks)
    assert column.series(np.array([0.0, 23.0])).tolist() == ["00:00", "23:00"]
