"""The notebook of docs: its cells run in their order, from a frame with words and gaps to one without."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tables.ipynb"


@pytest.mark.slow
def test_its_cells_run() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 5
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for cell in cells:
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    flats, samples, filled = (names[name] for name in ("flats", "samples", "filled"))
    assert list(samples.columns) == list(flats.columns)  # type: ignore[attr-defined]
    assert set(samples["city"].dropna()) <= {"Graz", "Oslo", "Turin"}  # type: ignore[index]
    assert samples["rent"].isna().any()  # type: ignore[index]
    assert not filled.isna().any().any()  # type: ignore[attr-defined]
    known = flats.head(50)["rent"].notna()  # type: ignore[attr-defined]
    assert (filled["rent"][known.to_numpy()].to_numpy() == flats.head(50)["rent"][known].to_numpy()).all()  # type: ignore[index,attr-defined]
