"""Units that stand at the numbers of a column: left out, remembered, and the same in later files."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import genflow as gf
from genflow.cli import main
from genflow.errors import InputError

MASS = np.random.default_rng(0).normal(70.0, 9.0, 60).round(1)
HEIGHT = np.random.default_rng(1).normal(1.7, 0.1, 60).round(2)


def table(unit, mass=MASS, height=HEIGHT):
    return pd.DataFrame({"mass": [f"{value} {unit}" for value in mass], "height": height})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A model of a file with units, saved and loaded again."""
    folder = tmp_path_factory.mktemp("units")
    table("kg").to_csv(folder / "people.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gf.baselines.Gaussian(2).fit(folder / "people.csv", iterations=1).save(folder / "run")
    return gf.load(folder / "run")


@pytest.mark.parametrize("kind", ["csv", "xlsx", "parquet", "frame"])
@pytest.mark.parametrize("rows", [1, 5])
def test_a_later_file_with_the_same_unit_or_none_has_the_same_densities(fitted, tmp_path, kind, rows):
    wanted = fitted.log_prob(np.stack([MASS, HEIGHT], -1)[:rows])
    plain = pd.DataFrame({"mass": MASS[:rows], "height": HEIGHT[:rows]})
    for later in (table("kg", MASS[:rows], HEIGHT[:rows]), plain):
        source = later if kind == "frame" else tmp_path / f"later.{kind}"
        if kind != "frame":
            {"csv": later.to_csv, "xlsx": later.to_excel}.get(kind, later.to_parquet)(source, index=False)
        assert fitted.log_prob(source).tolist() == wanted.tolist()
    assert fitted.sample_frame(3)["mass"].dtype == float


@pytest.mark.parametrize("kind", ["csv", "xlsx", "parquet", "frame"])
@pytest.mark.parametrize("rows", [1, 5])
def test_another_unit_is_refused_with_both_names(fitted, tmp_path, kind, rows):
    later = table("g", 1000 * MASS[:rows], HEIGHT[:rows])
    source = later if kind == "frame" else tmp_path / f"later.{kind}"
    if kind != "frame":
        {"csv": later.to_csv, "xlsx": later.to_excel}.get(kind, later.to_parquet)(source, index=False)
    with pytest.raises(InputError, match=r"row 1.*column 'mass': '\d+\.\d g' is in g, .* known in kg;"):
        fitted.log_prob(source)


def test_a_file_of_two_units_and_a_test_file_of_another(fitted, tmp_path):
    later = table("kg")
    later.loc[3, "mass"] = "5000 g"
    with pytest.raises(InputError, match="row 4, column 'mass': '5000 g' is in g"):
        fitted.log_prob(later)
    with pytest.raises(InputError, match="is in g, and the column is known in kg"):
        gf.data.load(table("kg"), test=table("g"))


def test_a_condition_has_its_unit_too():
    data = gf.data.load(table("kg"), condition=["mass"])
    fitted = gf.baselines.Gaussian(1, condition_dim=1).fit(data, iterations=1)
    plain = pd.DataFrame({"mass": MASS, "height": HEIGHT})
    assert fitted.log_prob(table("kg")).tolist() == fitted.log_prob(plain).tolist()
    with pytest.raises(InputError, match="is in g, and the column is known in kg"):
        fitted.log_prob(table("g"))


def test_commands_on_later_files(fitted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fitted.save("run")
    table("kg").to_csv("same.csv", index=False)
    table("lb").to_csv("other.csv", index=False)
    assert main(["score", "run", "same.csv", "-o", "scores.csv"]) == 0
    capsys.readouterr()
    assert main(["score", "run", "other.csv", "-o", "more.csv"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is in lb, and the column is known in kg" in line
