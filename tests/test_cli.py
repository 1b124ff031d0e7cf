"""The command line: what people type, what they read, and one line for what they mistype."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genflow as gf
from genflow.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a table and a model trained on it."""
    folder = tmp_path_factory.mktemp("place")
    rows = np.random.default_rng(0).normal([170.0, 70.0], [10.0, 5.0], (300, 2))
    pd.DataFrame(rows, columns=["height", "weight"]).to_csv(folder / "people.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = "fit people.csv --model maf --iterations 30 --set transforms=1 width=8 -o run --seed 1"
        assert main(words.split()) == 0
    return folder


@pytest.fixture(autouse=True)
def _in_place(place, monkeypatch):
    monkeypatch.chdir(place)


def run(capsys, words: str) -> tuple[int, str, str]:
    code = main(words.split())
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, words: str) -> str:
    """The single line that a wrong input gets; nothing new may be left in the folder."""
    before = sorted(os.listdir())
    code, _, err = run(capsys, words)
    assert code == 2
    assert err.startswith("genflow: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert sorted(os.listdir()) == before
    return err


def test_help_of_every_command_fits_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    for command in (
        "",
        "compare",
        "board",
        "fit",
        "sample",
        "score",
        "impute",
        "evaluate",
        "solvers",
        "divergences",
        "experiment",
        "list",
    ):
        with pytest.raises(SystemExit) as stop:
            main([*command.split(), "--help"])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 100
        if command:
            assert "example" in text


def test_no_command_shows_the_help(capsys):
    code, out, _ = run(capsys, "")
    assert code == 2
    assert "compare" in out


def test_list_names_everything(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    for name in ("jko-iflow", "score-sde", "maf", "hutchinson", "rk4", "jko-steps", "c2st", "two-moons", "digits"):
        assert name in out


def test_list_shows_the_options_of_a_model(capsys):
    code, out, _ = run(capsys, "list maf")
    assert code == 0
    assert "transforms=" in out
    assert "genflow.baselines" in out


def test_samples_have_the_columns_and_units_of_the_file(capsys):
    assert run(capsys, "sample run -n 500 -o samples.csv --seed 3")[0] == 0
    samples = pd.read_csv("samples.csv")
    assert list(samples.columns) == ["height", "weight"]
    assert samples["height"].mean() == pytest.approx(170, abs=5)
    assert run(capsys, "sample run -n 500 -o samples.npy --seed 3")[0] == 0
    np.testing.assert_allclose(np.load("samples.npy"), samples.to_numpy())


def test_scores_have_a_row_for_each_row(capsys):
    assert run(capsys, "score run people.csv -o scores.csv")[0] == 0
    scores = pd.read_csv("scores.csv")
    assert list(scores.columns) == ["log_prob", "percentile"]
    rows = pd.read_csv("people.csv").to_numpy()
    np.testing.assert_allclose(scores["log_prob"], gf.load("run").log_prob(rows).detach(), rtol=1e-5)


def test_scores_with_percentiles_flags_and_names(capsys):
    people = pd.read_csv("people.csv").assign(name=[f"person {k}" for k in range(300)])
    people.loc[7, "height"] = 400.0
    people.to_csv("named.csv", index=False)
    code, out, _ = run(capsys, "score run named.csv --flag 5% --id name -o named-scores.csv")
    assert code == 0
    scores = pd.read_csv("named-scores.csv")
    assert list(scores.columns) == ["name", "log_prob", "percentile", "flag"]
    assert scores["name"].tolist() == people["name"].tolist()
    assert scores["percentile"].between(0, 100).all()
    assert scores.loc[7, "percentile"] == 0
    assert scores["flag"].tolist() == (scores["percentile"] < 5).tolist()
    assert f"{scores['flag'].sum()} of 300 rows below the 5% percentile of 30 rows" in out  # the test rows of the fit
    assert "--flag: 5 came; a percentage" in refused(capsys, "score run named.csv --flag 5 -o none.csv")
    assert "'nobody'" in refused(capsys, "score run named.csv --id nobody -o none.csv")


def test_a_run_without_scores_has_no_percentiles(capsys, tmp_path):
    fitted = gf.load("run")
    fitted.record = None
    fitted.save(tmp_path / "old")
    code, _, err = run(capsys, f"score {tmp_path}/old people.csv -o {tmp_path}/old.csv")
    assert code == 0
    assert "keeps no scores of held-out rows: there are no percentiles" in err
    assert list(pd.read_csv(tmp_path / "old.csv").columns) == ["log_prob"]
    assert "--flag: " in refused(capsys, f"score {tmp_path}/old people.csv --flag 1% -o none.csv")


def test_missing_entries_are_drawn(capsys):
    gaps = pd.read_csv("people.csv").head(6).assign(name=list("abcdef"))
    gaps.loc[[1, 4], "weight"] = np.nan
    gaps.to_csv("gaps.csv", index=False)
    code, out, _ = run(capsys, "impute run gaps.csv --draws 3 --id name --chain-steps 4 -o filled.csv")
    assert code == 0
    assert "2 missing entries in 2 of 6 rows drawn, 3 times each" in out
    filled = pd.read_csv("filled.csv")
    assert list(filled.columns) == ["name", "height", "weight", "draw"]
    assert (
        run(capsys, "impute run gaps.csv --draws 2 --chain-steps 4 -o all.csv")[0] == 0
    )  # what the model has not stays
    everything = pd.read_csv("all.csv")
    assert list(everything.columns) == ["height", "weight", "draw", "name"]
    assert everything["name"].tolist() == list("abcdef") * 2
    assert filled["name"].tolist() == list("abcdef") * 3
    seen = gaps["weight"].notna()
    for _, part in filled.groupby("draw"):
        assert part["height"].tolist() == gaps["height"].tolist()
        assert part["weight"][seen.to_numpy()].tolist() == gaps["weight"][seen].tolist()
        assert part["weight"].notna().all()
    assert "--draws: 0 came" in refused(capsys, "impute run gaps.csv --draws 0 -o none.csv")


def test_a_model_with_masks_from_the_command_line(capsys):
    words = "fit people.csv --model nsf --masks --iterations 10 --set transforms=1 width=8 -o masked"
    assert run(capsys, words)[0] == 0
    pd.read_csv("people.csv").head(4).assign(height=np.nan).to_csv("no-height.csv", index=False)
    assert run(capsys, "impute masked no-height.csv --draws 1 -o masked.csv")[0] == 0
    assert list(pd.read_csv("masked.csv").columns) == ["height", "weight"]
    assert run(capsys, "score masked people.csv -o masked-scores.csv")[0] == 0
    assert run(capsys, "evaluate masked --points 20")[0] == 0


def test_evaluate_has_the_metrics_of_tables_with_their_floors(capsys):
    words = "evaluate run --points 40 --tables --target weight"
    code, out, _ = run(capsys, f"{words} --json")
    assert code == 0
    found = json.loads(out)["tables"]
    assert {"w1", "shapes", "trends", "coverage", "utility", "privacy"} <= set(found)
    assert all(figure["floor"] is not None for figure in found.values())
    assert set(found["shapes"]["parts"]) == {"height", "weight"}
    code, out, _ = run(capsys, words)
    assert code == 0
    assert "coverage" in out
    assert "floor" in out
    assert "target: it goes with --tables" in refused(capsys, "evaluate run --target weight")
    assert "target: no column 'hight'; one of height, weight" in refused(
        capsys, "evaluate run --points 40 --tables --target hight"
    )


def test_evaluate_takes_the_data_that_the_model_was_trained_on(capsys):
    code, out, _ = run(capsys, "evaluate run --points 30 --json")
    assert code == 0
    assert json.loads(out)["nll"] == pytest.approx(6.7, abs=1.5)
    code, out, _ = run(capsys, "evaluate run --points 30")
    assert code == 0
    assert "w2_floor" in out


def test_the_run_says_how_it_was_made():
    with open("run/run.json") as file:
        record = json.load(file)
    assert record["model"] == "maf"
    assert record["options"] == {"transforms": 1, "width": 8}
    assert record["seed"] == 1


@pytest.mark.slow
def test_rounds_are_two_flags_and_leave_pictures(capsys):
    # From a normal base, both blocks gain at once, which is what keeps them.
    options = "components=1 blocks=2 width=8 steps=2 tolerance=0 matching=0 joint=0.1"
    words = f"fit two-moons --iterations 200 --set {options} --reparameterize 1 --refine 1"
    code, out, _ = run(capsys, f"{words} --threads 1 -o rounds")
    assert code == 0
    for name in ("rounds.png", "blocks.png"):
        assert f"rounds/{name}" in out
        assert Path("rounds", name).read_bytes().startswith(b"\x89PNG")
    assert len(gf.load("rounds").model.velocity) == 4
    record = json.loads(Path("rounds/run.json").read_text())
    assert record["options"]["reparameterize"] == record["options"]["refine"] == 1


def test_the_published_recipe_is_one_flag(capsys):
    code, _, _ = run(capsys, "fit people.csv --recipe published --iterations 4 --set blocks=2 width=8 -o published")
    assert code == 0
    assert json.loads(Path("published/run.json").read_text())["model"] == "jko-iflow-published"
    assert type(gf.load("published").model).__name__ == "PublishedJKOiFlow"


def test_text_in_a_column(capsys):
    with open("text.csv", "w") as file:
        file.write("a,b\n" + "3,1O\n" + "".join(f"{k},{k * k}\n" for k in range(25)))
    assert "1O" in refused(capsys, "fit text.csv --missing refuse --iterations 1 -o new")


def test_nan(capsys):
    rows = np.random.default_rng(0).normal(size=(30, 2))
    rows[4, 1] = np.nan
    np.save("nan.npy", rows)
    refused(capsys, "compare --data nan.npy --missing refuse --iterations 1 --out new")


def test_one_row(capsys):
    np.save("one.npy", np.ones((1, 2)))
    refused(capsys, "fit one.npy --iterations 1 -o new")


def test_a_constant_column_is_left_to_the_samples(capsys):
    rows = np.random.default_rng(0).normal(size=(50, 2))
    rows[:, 1] = 7
    np.save("constant.npy", rows)
    code, _, err = run(capsys, "fit constant.npy --model maf --iterations 2 --set transforms=1 width=8 -o one")
    assert code == 0
    assert "constant: x2 (7); left out of the model, samples have it" in err
    assert gf.load("one").dim == 1
    assert run(capsys, "sample one -n 5 -o five.csv")[0] == 0
    assert (pd.read_csv("five.csv")["x2"] == 7).all()
    np.save("constants.npy", np.full((50, 2), 7.0))
    error = refused(capsys, "compare --data constants.npy --iterations 1 --out new")
    assert "is constant (7); a density needs columns that vary" in error


def test_an_unknown_model(capsys):
    assert "did you mean jko-iflow" in refused(capsys, "compare --data two-moons --models jko-flow --out new")
    assert "did you mean maf" in refused(capsys, "fit two-moons --model mafs -o new")


def test_an_output_that_exists(capsys):
    assert "exists" in refused(capsys, "compare --data two-moons --models maf --iterations 1 --out run")
    assert "exists" in refused(capsys, "fit two-moons --model maf --iterations 1 -o run")
    assert "exists" in refused(capsys, "score run people.csv -o people.csv")


def test_a_truncated_checkpoint(capsys):
    os.makedirs("truncated")
    for name in ("model.json", "model.safetensors"):
        with open(f"run/{name}", "rb") as source, open(f"truncated/{name}", "wb") as target:
            data = source.read()
            target.write(data[: len(data) // 2] if name.endswith("safetensors") else data)
    assert "damaged" in refused(capsys, "sample truncated -o new.csv")


def test_a_checkpoint_that_names_a_foreign_class_runs_nothing(capsys):
    with open("evil.py", "w") as file:
        file.write("open('executed', 'w').close()\nclass Evil:\n    pass\n")
    os.makedirs("foreign")
    with open("run/model.json") as file:
        document = json.load(file)
    document["model"]["class"] = "evil:Evil"
    with open("foreign/model.json", "w") as file:
        json.dump(document, file)
    with open("run/model.safetensors", "rb") as source, open("foreign/model.safetensors", "wb") as target:
        target.write(source.read())
    assert "foreign class" in refused(capsys, "score foreign people.csv -o new.csv")
    assert not os.path.exists("executed")


def test_a_model_of_ones_own_is_found_in_the_current_folder_if_trusted(capsys):
    with open("my_flows.py", "w") as file:
        file.write("from genflow.baselines import MAF\n\n\nclass Mine(MAF):\n    pass\n")
    options = "--iterations 2 --set transforms=1 width=8"
    assert run(capsys, f"fit people.csv --model my_flows:Mine {options} -o mine")[0] == 0
    del sys.modules["my_flows"]
    error = refused(capsys, "sample mine -n 3 -o mine.csv")
    assert error.endswith("was not imported; if you trust it, load it with --trust my_flows:Mine\n")
    assert "my_flows" not in sys.modules
    assert run(capsys, "sample mine -n 3 -o mine.csv --trust my_flows:Mine")[0] == 0
    del sys.modules["my_flows"]
    os.rename("my_flows.py", "moved.py")
    error = refused(capsys, "sample mine -n 3 -o new.csv --trust my_flows:Mine")
    assert "run in the folder of its module, or name that, as in --trust folder/my_flows.py:Mine" in error
    os.mkdir("parts")
    os.rename("moved.py", "parts/my_flows.py")
    assert run(capsys, "sample mine -n 3 -o new.csv --trust parts/my_flows.py:Mine")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        "comparee",
        "compare",
        "compare --data two-moons --bugdet 3s",
        "compare --data two-moons --budget soon --out new",
        "compare --data two-moons --iterations many --out new",
        "compare --data two-moons --set blocks=3 --out new",
        "fit two-moons --model maf --set transformz=3 -o new",
        "fit two-moons --model maf --set transforms -o new",
        "fit nowhere.csv --model maf -o new",
        "fit two-moons --recipe homemade -o new",
        "fit two-moons --model maf --reparameterize 2 -o new",
        "fit two-moons --refine -1 --iterations 2 -o new",
        "sample run -n 0 -o new.csv",
        "sample run -o new.ods",
        "sample nowhere -o new.csv",
        "score run nowhere.csv -o new.csv",
        "list nothing-of-that-name",
    ],
)
def test_what_is_mistyped_gets_one_line(capsys, words):
    refused(capsys, words)


def test_a_table_with_other_columns_is_not_scored(capsys):
    np.save("three.npy", np.random.default_rng(0).normal(size=(20, 3)))
    refused(capsys, "score run three.npy -o new.csv")


def test_the_installed_command_starts_and_ends_as_a_process():
    words = [sys.executable, "-m", "genflow", "sample", "nowhere", "-o", "x.csv"]
    environment = {**os.environ, "PYTHONPATH": str(Path(gf.__file__).parent.parent)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("genflow: error: ")
    assert done.stderr.count("\n") == 1
