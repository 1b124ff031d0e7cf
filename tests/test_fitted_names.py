"""The model in the user's units under the names that files of all times call it by."""

from __future__ import annotations

import json

import pytest

import genflow as gf


@pytest.mark.parametrize("name", ["genflow.model:Transformed", "genflow.fitted:Transformed"])
def test_folders_of_older_versions_load(name, tmp_path):
    fitted = gf.baselines.Gaussian(2).fit("two-moons", iterations=1)
    fitted.save(tmp_path / "run")
    file = tmp_path / "run" / "model.json"
    document = json.loads(file.read_text())
    document["model"]["class"] = name
    file.write_text(json.dumps(document))
    loaded = gf.load(tmp_path / "run")
    assert type(loaded) is gf.fitted.Transformed
    assert loaded.log_prob([[0.5, 0.2]]) == fitted.log_prob([[0.5, 0.2]])
