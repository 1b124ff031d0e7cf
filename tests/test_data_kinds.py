"""Kinds of columns: any of them becomes numbers, and the numbers become the table again."""

from __future__ import annotations

import decimal
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import numpy as np
import numpy.ma.mrecords
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genflow import InputError
from genflow.data import Column, load, rows_of, write

N = 60
RNG = np.random.default_rng(4)
WORDS = RNG.choice(["Graz", "Oslo", "Rome"], N)
GAPS = RNG.random(N) < 0.2
STAMPS = pd.Timestamp("2020-02-28") + pd.to_timedelta(RNG.integers(0, 10**5, N), "s")


def rows(data) -> np.ndarray:
    """The rows in the order in which they came."""
    whole = torch.cat(list(data.parts().values())).numpy()
    order = np.random.default_rng(0).permutation(len(whole))
    return whole[np.argsort(order)]


COLUMNS = {
    "float64": (RNG.normal(size=N), "continuous"),
    "float32": (RNG.normal(size=N).astype("float32"), "continuous"),
    "hundredths": (RNG.normal(size=N).round(2), "continuous"),
    "int64": (RNG.integers(-5, 90, N), "integer"),
    "uint8": (RNG.integers(0, 200, N).astype("uint8"), "integer"),
    "Int64": (pd.Series(RNG.integers(0, 9, N), dtype="Int64").mask(GAPS), "integer"),
    "Float64": (pd.Series(RNG.normal(size=N), dtype="Float64").mask(GAPS), "continuous"),
    "gaps": (pd.Series(RNG.normal(size=N)).mask(GAPS), "continuous"),
    "bool": (RNG.random(N) < 0.3, "boolean"),
    "boolean": (pd.Series(RNG.random(N) < 0.3, dtype="boolean").mask(GAPS), "boolean"),
    "objects of bool": (pd.Series(RNG.random(N) < 0.3, dtype=object), "boolean"),
    "str": (pd.Series(WORDS), "class"),
    "object": (pd.Series(WORDS, dtype=object).mask(GAPS), "class"),
    "string": (pd.Series(WORDS, dtype="string").mask(GAPS), "class"),
    "category": (pd.Categorical(WORDS, categories=["Rome", "Oslo", "Graz", "Wien"]), "class"),
    "category of numbers": (pd.Categorical(RNG.integers(0, 4, N) / 2, ordered=True), "class"),
    "category of whole numbers": (pd.Series(pd.Categorical(RNG.integers(0, 4, N))).mask(GAPS), "class"),
    "category of truth": (pd.Categorical(RNG.random(N) < 0.3), "class"),
    "category of dates": (pd.Categorical(pd.Series(STAMPS).dt.normalize()), "class"),
    "category of moments": (pd.Categorical(pd.Series(STAMPS).dt.floor("D").dt.tz_localize("Europe/Vienna")), "class"),
    "category of months": (pd.Categorical(STAMPS.to_period("D")), "class"),
    "cut": (pd.cut(RNG.normal(size=N), 4), "class"),
    "cut at quantiles": (pd.Series(pd.qcut(RNG.normal(size=N), 3)).mask(GAPS), "class"),
    "cut dates": (pd.cut(pd.Series(STAMPS), 3), "class"),
    "intervals": (pd.Series(pd.arrays.IntervalArray(pd.cut(RNG.normal(size=N), 4).astype(object))), "class"),
    "times of Python": (pd.Series([stamp.time() for stamp in STAMPS], dtype=object).mask(GAPS, None), "date"),
    "arrow times": (pd.Series([stamp.time() for stamp in STAMPS], dtype="time64[us][pyarrow]").mask(GAPS), "date"),
    "arrow durations": (pd.Series(STAMPS - STAMPS[0]).astype("duration[us][pyarrow]"), "integer"),
    "category with gaps": (pd.Series(pd.Categorical(WORDS)).mask(GAPS), "class"),
    "datetime64": (pd.Series(STAMPS), "date"),
    "days": (pd.Series(STAMPS).dt.normalize().mask(GAPS), "date"),
    "zoned": (pd.Series(STAMPS).dt.tz_localize("Europe/Vienna"), "date"),
    "dates of Python": (pd.Series([stamp.date() for stamp in STAMPS], dtype=object), "date"),
    "period": (pd.Series(STAMPS.to_period("D")), "date"),
    "timedelta64": (pd.Series(STAMPS - STAMPS[0]), "integer"),
    "decimal": (pd.Series([decimal.Decimal(int(k)) / 4 for k in RNG.integers(0, 99, N)], dtype=object), "continuous"),
    "arrow": (pd.Series(RNG.integers(0, 99, N), dtype="int64[pyarrow]"), "integer"),
    "arrow words": (pd.Series(WORDS, dtype="string[pyarrow]"), "class"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_any_dtype_comes_back(name):
    column, kind = COLUMNS[name]
    frame = pd.DataFrame({"x": RNG.normal(size=N), name: column})
    data = load(frame)
    found = next(c for c in data.schema.columns if c.name == name)
    assert found.kind == kind
    assert found.missing == bool(frame[name].isna().any())
    again = data.schema.frame(rows(data))
    expected = frame.astype({name: "bool"}) if name == "objects of bool" else frame
    pd.testing.assert_frame_equal(again, expected, check_exact=name not in ("float32", "decimal"))


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".xlsx"])
def test_what_is_written_is_what_was_modelled(tmp_path, ending):
    """Categories of dates and intervals are words in a file; a model finds its classes again in them."""
    some = [name for name in COLUMNS if name.startswith(("cat", "cut", "int", "times"))]
    data = load(pd.DataFrame({"x": RNG.normal(size=N), **{name: COLUMNS[name][0] for name in some}}))
    write(tmp_path / f"rows{ending}", data.schema.frame(rows(data)))
    again, _ = rows_of(tmp_path / f"rows{ending}", data.columns, schema=data.schema)
    np.testing.assert_allclose(again.numpy(), rows(data), rtol=1e-14)


@pytest.mark.parametrize("number", [Fraction, decimal.Decimal])
def test_exact_numbers_of_python_are_numbers(number):
    values = [number(int(k)) / 4 for k in RNG.integers(0, 99, N)]
    for column in (values, [*values[:-1], 2.5], [*values[:-1], None]):
        found = load(pd.DataFrame({"x": RNG.normal(size=N), "y": pd.Series(column, dtype=object)}))
        assert found.schema.columns[1].kind == "continuous"
        np.testing.assert_array_equal(rows(found)[:-1, 1], [float(value) for value in values[:-1]])


def test_records_with_a_mask():
    """What the mask hides is missing, whole numbers stay such; fields of several numbers are refused in one line."""
    a, b = RNG.normal(size=N), RNG.integers(0, 9, N)
    records = np.ma.array(np.rec.fromarrays([a, b], names="a,b"), mask=list(zip(GAPS, ~GAPS)))
    for source in (
        records,
        np.ma.mrecords.fromarrays([np.ma.array(a, mask=GAPS), np.ma.array(b, mask=~GAPS)], names="a,b"),
    ):
        data = load(source)
        assert [(column.kind, column.dtype) for column in data.schema.columns] == [
            ("continuous", "float64"),
            ("integer", "Int64"),
        ]
        np.testing.assert_array_equal(
            rows(data), np.column_stack([np.where(GAPS, np.nan, a), np.where(~GAPS, np.nan, b)])
        )
    with pytest.raises(InputError, match="row 1, column 'b': a ndarray came; leave the column out with drop="):
        load(np.zeros(N, [("a", "f8"), ("b", "f8", (2,))]))


def test_arrow_tables_with_one_name_twice_and_with_columns_in_columns():
    pa = pytest.importorskip("pyarrow")
    x = RNG.normal(size=N)
    twice = pa.Table.from_arrays([pa.array(x), pa.array(x**2)], names=["a", "a"])
    assert load(twice).columns == ["a", "a.2"]
    nested = pa.table({"x": x, "pair": [{"a": value} for value in x], "list": [[value] for value in x]})
    for name, came in (("pair", "dict"), ("list", "ndarray")):
        with pytest.raises(InputError, match=f"row 1, column '{name}': a {came} came; leave the column out with drop="):
            load(nested, columns=["x", name])
    assert load(nested, drop=["pair", "list"]).columns == ["x"]


def test_a_frame_of_everything_comes_back_in_its_order():
    frame = pd.DataFrame({name: column for name, (column, _) in COLUMNS.items()})
    frame.insert(3, "country", "AT")
    frame.insert(0, "ticket", [f"A {k}" for k in range(N)])
    data = load(frame)
    assert data.dim == len(COLUMNS)
    assert {c.name: c.kind for c in data.schema.columns if not c.modelled} == {
        "country": "constant",
        "ticket": "identifier",
    }
    again = data.schema.frame(rows(data))
    assert again.columns.tolist() == frame.columns.drop("ticket").tolist()
    expected = frame.drop(columns="ticket").astype({"objects of bool": "bool"})
    pd.testing.assert_frame_equal(again, expected, check_exact=False)


def test_blanks_around_a_category_do_not_count():
    frame = pd.DataFrame({"size": pd.Categorical([" large", "small"] * 20), "x": 0.1 * np.arange(40.0) ** 2})
    column = load(frame).schema.columns[0]
    assert (column.kind, tuple(column.classes)) == ("class", ("large", "small"))


@pytest.mark.parametrize("library", ["pyarrow", "polars"])
def test_frames_of_other_libraries(library):
    module = pytest.importorskip(library)
    columns = {"x": RNG.normal(size=N).tolist(), "city": WORDS.tolist(), "day": [stamp.date() for stamp in STAMPS]}
    data = load((module.table if library == "pyarrow" else module.DataFrame)(columns))
    assert [column.kind for column in data.schema.columns] == ["continuous", "class", "date"]
    np.testing.assert_array_equal(rows(data)[:, 0], columns["x"])


def test_arrays_of_words_and_records():
    words = np.column_stack([WORDS, WORDS[::-1]])
    assert [column.kind for column in load(words).schema.columns] == ["class", "class"]
    records = np.array(list(zip(RNG.normal(size=N), WORDS)), dtype=[("x", float), ("city", "U9")])
    data = load(records)
    assert data.columns == ["x", "city"]
    assert data.schema.columns[1].classes == ("Graz", "Oslo", "Rome")


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.none(), st.sampled_from(["a", "b", "1", " c", "NaN", "True"])), min_size=10, max_size=30
    ),
    seed=st.integers(0, 99),
)
def test_words_with_gaps_come_back(values, seed):
    """Words of a frame are words, whatever they spell; blanks around them do not count."""
    known = [value for value in values if value is not None]
    if not {"a", "b"} <= set(known):
        values = [*values, "a", "b"]
    frame = pd.DataFrame(
        {"x": np.random.default_rng(seed).normal(size=len(values)), "w": pd.Series(values, dtype=object)}
    )
    data = load(frame, kinds={"w": "class"})
    again = data.schema.frame(rows(data))["w"]
    expected = [None if value is None else value.strip() for value in values]
    assert [None if pd.isna(value) else value for value in again] == expected


# What is asked for


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    lines = [
        f"{k},{x:.1f},{'' if gone else int(50 + x)},{city},{k % 3}"
        for k, (x, gone, city) in enumerate(zip(RNG.normal(20, 5, N), GAPS, WORDS))
    ]
    path.write_text("id,height,age,city,code\n" + "\n".join(lines))
    return path


def test_kinds_columns_and_drop(people):
    data = load(people)
    assert data.columns == ["height", "age", "city", "code"]
    assert data.schema.columns[0].kind == "identifier"
    assert load(people, drop=["city", 0]).columns == ["height", "age", "code"]
    assert [c.kind for c in load(people, kinds={"code": "class", "city": "identifier"}).schema.columns] == [
        "identifier", "continuous", "integer", "identifier", "class",
    ]  # fmt: skip
    assert load(people, kinds={"id": "integer"}).columns[0] == "id"
    chosen = load(people, columns=["code", "id"])
    assert [c.name for c in chosen.schema.columns] == chosen.columns == ["code", "id"]
    for wrong, message in (
        ({"kinds": {"code": "word"}}, "kinds: 'word' came for 'code'; one of continuous, integer, class"),
        ({"kinds": {"age": "date"}}, "column 'age': .+ is not a date"),
        ({"kinds": {"city": "integer"}}, r"row 1 \(line 2\), column 'city': .+ is not a number"),
        ({"drop": ["nobody"]}, "no column 'nobody'"),
        ({"missing": "fill"}, "missing: 'fill' came; value, drop, refuse would do"),
        ({"sheet": "one"}, "sheet: 'one' came, and .+ has no sheets"),
    ):
        with pytest.raises(InputError, match=message):
            load(people, **wrong)


def test_missing_values_are_a_value_dropped_or_refused(people):
    kept = load(people)
    assert torch.cat(list(kept.parts().values())).isnan().sum() == GAPS.sum()
    assert next(c for c in kept.schema.columns if c.name == "age").missing
    dropped = load(people, missing="drop")
    assert sum(map(len, dropped.parts().values())) == N - GAPS.sum()
    assert not any(c.missing for c in dropped.schema.columns)
    assert any(f"{GAPS.sum()} rows of {N} miss a value: left out" in remark for remark in dropped.remarks)
    with pytest.raises(InputError, match=r"row \d+ \(line \d+\), column 'age': a missing value"):
        load(people, missing="refuse")
    for atoms in ("keep", "dequantize", "drop"):
        with pytest.raises(InputError, match=f"atoms: '{atoms}' came, and column .+ atoms=cells would do"):
            load(people, atoms=atoms)


def test_values_that_stand_for_missing_ones():
    x = RNG.normal(20, 5, 400).round(1)
    x[RNG.random(400) < 0.1] = -200
    frame = pd.DataFrame({"x": x, "y": RNG.normal(size=400), "n": np.where(x < 0, 999, RNG.integers(0, 9, 400))})
    data = load(frame)
    assert any("-200 stands far from the other values of x" in remark for remark in data.remarks)
    assert any("999 stands far from the other values of n" in remark for remark in data.remarks)
    data = load(frame, missing_values=[-200, "999"])
    assert [column.missing for column in data.schema.columns] == [True, False, True]
    assert torch.cat(list(data.parts().values())).isnan().sum() == 2 * (x == -200).sum()
    skewed = pd.DataFrame({"x": RNG.exponential(size=(500, 2)).round(2)[:, 0], "y": RNG.normal(size=500)})
    assert not any("stands far" in remark for remark in load(skewed).remarks)  # many zeros are no sentinel


# Rows for a model


def test_a_new_table_is_read_by_the_schema(tmp_path):
    frame = pd.DataFrame({
        "day": pd.date_range("2020-01-01", periods=N).strftime("%d/%m/%Y"),
        "city": WORDS,
        "x": pd.Series(RNG.normal(size=N)).mask(GAPS),
        "n": RNG.integers(1, 5, N),
    })  # fmt: skip
    frame.to_csv(tmp_path / "old.csv", index=False)
    data = load(tmp_path / "old.csv")
    new = pd.DataFrame({
        "note": ["a", "b"], "n": [3, 4], "x": [None, 1.5], "city": ["Rome", "Lima"],
        "day": ["03/02/2020", "04/02/2020"],
    })  # fmt: skip
    new.to_csv(tmp_path / "new.csv", index=False)
    expected = [[18295.0, 2.0, np.nan, 3.0], [18296.0, 3.0, 1.5, 4.0]]  # a city that is not known comes behind all
    for source in (new, tmp_path / "new.csv"):
        x, _ = rows_of(source, data.columns, schema=data.schema)
        np.testing.assert_array_equal(x.numpy(), expected)
    for change, message in (
        ({"n": [3, None]}, "row 2.*, column 'n': a missing value .NaN.; the model knows no gaps there"),
        ({"n": [3, "many"]}, "column 'n': 'many' is not a number"),
        ({"day": ["03/02/2020", "soon"]}, "column 'day': 'soon' is not a date"),
    ):
        new.assign(**change).to_csv(tmp_path / "wrong.csv", index=False)
        for source in (new.assign(**change), tmp_path / "wrong.csv"):
            with pytest.raises(InputError, match=message):
                rows_of(source, data.columns, schema=data.schema)
    new.drop(columns="city").to_csv(tmp_path / "wrong.csv", index=False)
    with pytest.raises(InputError, match="missing columns: city"):
        rows_of(tmp_path / "wrong.csv", data.columns, schema=data.schema)
    with pytest.raises(InputError, match="column 'n': a missing value"):
        rows_of([[1.0, 0.0, np.nan, np.nan]], data.columns, schema=data.schema)
    assert rows_of([[1.0, 0.0, np.nan, 1.0]], data.columns, schema=data.schema)[0].shape == (1, 4)


@pytest.mark.parametrize(
    ("column", "dim"),
    [
        ("flag", 2),
        ("city", 3),
        ("day", 1),
        ("count", 1),
    ],
)
def test_conditions_of_every_kind(column, dim, tmp_path):
    frame = pd.DataFrame({
        "x": RNG.normal(size=N), "flag": RNG.random(N) < 0.5, "city": WORDS,
        "day": pd.date_range("2020-01-01", periods=N), "count": RNG.integers(0, 9, N),
    })  # fmt: skip
    frame.to_csv(tmp_path / "t.csv", index=False)
    for source in (frame, tmp_path / "t.csv"):
        data = load(source, columns=["x"], condition=column)
        assert (data.columns, data.condition_dim) == (["x"], dim)
        assert [c.name for c in data.schema.columns if c.condition] == [column]
        vectors = data.condition.vectors(data.condition.train)
        assert vectors.shape == (len(data.train), dim)
        _, condition = rows_of(source, data.columns, data.condition.encoding, schema=data.schema)
        assert len(condition) == N
    gaps = frame.assign(**{column: frame[column].astype(object).mask(GAPS)})
    with pytest.raises(
        InputError, match=f"condition: .+column '{column}' is missing in {GAPS.sum()} rows; missing=drop"
    ):
        load(gaps, condition=column)
    assert load(gaps, condition=column, missing="drop").condition_dim == dim


def test_a_date_is_typed_as_a_person_writes_it():
    column = Column("day", "date", unit="hours", format="%-d.%-m.%Y")
    assert column.number("2.1.1970") == column.number("1970-01-02") == 24
    with pytest.raises(InputError, match="day: 'soon' came; a date such as 2012-01-31 would do"):
        column.number("soon")


def test_a_schema_is_kept_in_a_checkpoint(tmp_path):
    import genflow as gf

    frame = pd.DataFrame({"x": RNG.normal(size=N), "n": RNG.integers(0, 9, N), "land": "AT"})
    model = gf.baselines.NSF(2, width=8, transforms=1).fit(load(frame), iterations=2)
    model.save(tmp_path / "run")
    again = gf.load(tmp_path / "run")
    assert again.schema.frame(np.ones((2, 2))).equals(model.schema.frame(np.ones((2, 2))))
    samples = again.sample_frame(5, generator=torch.Generator().manual_seed(0))
    assert samples.dtypes.astype(str).tolist() == frame.dtypes.astype(str).tolist()
    assert samples["land"].tolist() == ["AT"] * 5


def test_another_table_is_loaded_like_the_first():
    """Its classes are others, and every number is another: both are what they were."""
    first = pd.DataFrame({"x": RNG.normal(size=N), "city": WORDS, "n": RNG.integers(0, 9, N)})
    schema = load(first).schema
    other = pd.DataFrame({"n": np.arange(N), "city": np.resize(["Rome", "Lima"], N), "x": RNG.normal(size=N)})
    data = load(other, columns=["x", "city", "n"], like=schema)
    assert data.columns == ["x", "city", "n"]
    assert [column.kind for column in data.schema.columns] == ["continuous", "class", "integer"]
    assert set(torch.cat(list(data.parts().values()))[:, 1].tolist()) == {2.0, 3.0}  # Rome, and one that is not known


@pytest.mark.skipif(not hasattr(pd, "ArrowDtype"), reason="an older pandas")
@pytest.mark.parametrize(
    ("values", "kind", "dtype"),
    [
        ([decimal.Decimal("1.10") + k % 5 for k in range(60)], "decimal128", "object"),
        (["a", "b", "c"] * 20, "dictionary", "category"),
        ([pd.Timestamp("2020-01-01", tz="UTC") + pd.Timedelta(days=k) for k in range(60)], "timestamp", "datetime64"),
        ([k % 9 for k in range(60)], "int64", "int64[pyarrow]"),
    ],
    ids=["decimal", "dictionary", "timestamp", "int64"],
)
def test_columns_of_arrow_come_back(values, kind, dtype):
    pa = pytest.importorskip("pyarrow")
    array = pa.array(values)
    array = array.dictionary_encode() if kind == "dictionary" else array
    frame = pd.DataFrame({"x": np.arange(60) ** 1.5, "c": pd.Series(pd.arrays.ArrowExtensionArray(array))})
    data = load(frame)
    again = data.schema.frame(rows(data))["c"]
    assert str(again.dtype).startswith(dtype)
    assert again.tolist() == values


def test_categories_keep_their_order_and_intervals_are_classes():
    x = np.arange(60) ** 1.5
    size = pd.Categorical(["low", "high", "mid"] * 20, categories=["low", "mid", "high"], ordered=True)
    spans = pd.arrays.IntervalArray.from_breaks(range(4))[np.arange(60) % 3]
    data = load(pd.DataFrame({"x": x, "size": size, "span": spans}))
    again = data.schema.frame(rows(data))
    assert again["size"].cat.ordered
    assert again["size"].tolist() == size.tolist()
    assert again["span"].tolist() == list(spans)


@pytest.mark.parametrize("dtype", ["int64", "object", "text"])
def test_whole_numbers_beyond_doubles_are_not_merged(tmp_path, dtype):
    long = [2**53 + k % 3 for k in range(60)]
    frame = pd.DataFrame({"x": np.arange(60) ** 1.5, "id": pd.Series(long, dtype=None if dtype == "text" else dtype)})
    if dtype == "text":
        frame.to_csv(tmp_path / "t.csv", index=False)
    data = load(tmp_path / "t.csv" if dtype == "text" else frame)
    assert data.schema.columns[1].kind == "class"
    assert list(map(int, data.schema.frame(rows(data))["id"])) == long


@pytest.mark.parametrize("words", [["0:0", "1:1", "2:2", "4:0"], ["1.0.0", "1.1.0", "1.2.3"], ["0:02", "1:1"]])
def test_results_of_matches_and_versions_are_no_times(words):
    frame = pd.DataFrame({"x": np.arange(60) ** 1.5, "c": [words[k % len(words)] for k in range(60)]})
    assert load(frame).schema.columns[1].kind == "class"


def test_what_is_no_real_number_is_refused_in_objects_too():
    frame = pd.DataFrame({"x": np.arange(60) ** 1.5, "c": pd.Series([complex(k, 1) for k in range(60)], dtype=object)})
    with pytest.raises(InputError, match="column 'c': complex is no real number"):
        load(frame)
    frame["c"] = -np.inf
    with pytest.raises(InputError, match="column 'c': -inf"):
        load(frame)


def test_moments_of_several_time_zones_are_those_of_one():
    zones = [UTC, timezone(timedelta(hours=2))]
    moments = [datetime(2020, 1, 1 + k % 28, 12, tzinfo=zones[k % 2]) for k in range(60)]
    data = load(pd.DataFrame({"x": np.arange(60) ** 1.5, "c": pd.Series(moments, dtype=object)}))
    assert data.schema.frame(rows(data))["c"].tolist() == moments


def test_a_zero_has_no_sign():
    column = Column("c", grid=0.1)
    zero = column.series(np.array([-1e-17, 0.1]))
    assert not np.signbit(zero).any()


SAID = {
    "decimals": (RNG.normal(size=N), ("continuous", "class", "identifier")),
    "whole numbers": (RNG.integers(0, 9, N), ("integer", "continuous", "class", "identifier")),
    "truth": (RNG.random(N) < 0.5, ("boolean", "class", "identifier")),
    "words": (WORDS, ("class", "identifier")),
    "days": (pd.Series(STAMPS).dt.normalize(), ("date", "class", "identifier")),
}


@pytest.mark.parametrize("source", ["frame", ".csv", "array"])
@pytest.mark.parametrize("name", SAID)
def test_a_kind_that_is_said_is_kept_or_refused_in_one_line(tmp_path, name, source):
    """It is never believed of values that are not of that kind, nor passed over in silence."""
    column, known = SAID[name]
    frame = pd.DataFrame({"x": RNG.normal(size=N), "y": column})
    if source == ".csv":
        write(tmp_path / "rows.csv", frame)
    for kind in ("continuous", "integer", "class", "boolean", "date", "identifier"):
        data = {"frame": frame, ".csv": tmp_path / "rows.csv", "array": frame.to_numpy(dtype=object)}[source]
        if kind in known:
            assert load(data, kinds={1: kind}).schema.columns[1].kind == kind
            continue
        with pytest.raises(InputError) as error:
            load(data, kinds={1: kind})
        assert "\n" not in str(error.value)
        assert "column 2" in str(error.value) or "column 'y'" in str(error.value)


def test_an_array_of_dates_as_numbers(recwarn):
    days = pd.Series(STAMPS).dt.strftime("%Y%m%d").astype("int64")
    data = load(np.column_stack([RNG.normal(size=N), days]), kinds={1: "date"})
    assert data.schema.columns[1].kind == "date"
    with pytest.raises(InputError, match=r"row 1, column 2: .+ is no integer, as kinds says; 'continuous' would do"):
        load(RNG.normal(size=(N, 2)), kinds={1: "integer"})
