"""Real tables as they lie around: each loads, what it holds is found, and its rows come back as they were."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from genflow.cli import main
from genflow.data import load, rows_of

# Kinds that are not numbers, by name of the column; the shares of missing values of some.
TABLES = {
    "iris.csv": ({"species": "class"}, {}),
    "penguins.csv": ({"species": "class", "island": "class", "sex": "class"}, {"sex": 11, "body_mass_g": 2}),
    "titanic_seaborn.csv": ({"adult_male": "boolean", "alone": "boolean", "deck": "class"}, {}),
    "tips.csv": ({"sex": "class", "smoker": "class", "day": "class", "time": "class"}, {}),
    "adult.data": ({"x2": "class", "x4": "class", "x15": "class"}, {"x2": 1836, "x14": 583}),
    "abalone.csv": ({"x1": "class"}, {}),
    "horse-colic.csv": ({}, {"x1": 1, "x4": 60}),
    "winequality-red.csv": ({"quality": "integer"}, {}),
    "wine_decimal_comma.csv": ({"Id": "identifier", "quality": "integer"}, {}),
    "AirQualityUCI_quoted_commas.csv": ({"Date": "date", "Time": "date"}, {}),
    "survey_turkiye.csv": ({"difficulty": "integer"}, {}),
    "diabetes_data_raw.csv.gz": ({"x2": "integer"}, {}),
    "iris.parquet": ({"class": "integer"}, {}),
    "ENB2012_data.xlsx": ({"X6": "integer"}, {}),
    "seattle-weather.csv": ({"date": "date", "weather": "class"}, {}),
    "sp500-2000.csv": ({"date": "date", "volume": "integer"}, {}),
    "mtcars.csv": ({"x1": "identifier"}, {}),
}


@pytest.fixture(params=TABLES)
def table(request, shared_tables):
    path = shared_tables / "as-they-come" / request.param
    if not path.is_file():
        pytest.skip("the table is not here")
    return path


def test_a_table_loads_and_its_kinds_are_found(table):
    kinds, gaps = TABLES[table.name]
    data = load(table)
    found = {column.name: column for column in data.schema.columns}
    assert {name: found[name].kind for name in kinds} == kinds
    assert [column.name for column in data.schema.modelled] == data.columns
    whole = torch.cat(list(data.parts().values()))
    assert not whole.isinf().any()
    for j, column in enumerate(data.schema.modelled):
        assert bool(whole[:, j].isnan().any()) == column.missing
        if column.classes:
            known = whole[~whole[:, j].isnan(), j]
            assert set(known.tolist()) <= set(map(float, range(len(column.classes))))
    x, _ = rows_of(table, data.columns, schema=data.schema)  # copies of rows among them
    for name, count in gaps.items():
        assert int(x[:, data.columns.index(name)].isnan().sum()) == count


def test_rows_come_back_as_they_were(table, tmp_path):
    """What is written is read again as the same rows, of the same kinds."""
    data = load(table)
    x, _ = rows_of(table, data.columns, schema=data.schema)
    frame = data.schema.frame(x[:500].numpy())
    shown = [column.name for column in data.schema.columns if column.kind != "identifier"]
    assert frame.columns.tolist() == shown
    for path in (tmp_path / "again.csv", tmp_path / "again.parquet"):
        from genflow.data import write

        write(path, frame)
        again, _ = rows_of(path, data.columns, schema=data.schema)
        np.testing.assert_array_equal(again.numpy(), x[:500].numpy())
    if table.suffix == ".csv" and table.name.startswith(("iris", "tips", "seattle")):
        expected = pd.read_csv(table).iloc[:500]
        pd.testing.assert_frame_equal(frame, expected, check_dtype=False)


def test_a_table_is_described(table, capsys):
    assert main(["describe", str(table)]) == 0
    out = capsys.readouterr().out
    for column in load(table).schema.columns:
        assert column.name.split()[0][:6] in out
