"""Experiment trackers: what they hear of a training and of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import genflow as gf
from genflow.cli import main
from genflow.training import TensorBoard, Tracker


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.metrics: list[tuple[str, float, int | None]] = []
        self.figures: dict[str, Any] = {}

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.params |= params

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        self.metrics.append((name, value, step))

    def log_figure(self, name: str, figure: Any) -> None:
        self.figures[name] = figure


def test_a_training_is_told_from_its_settings_to_its_nll() -> None:
    heard = Heard()
    assert isinstance(heard, Tracker)
    model = gf.models.JKOiFlow(2, blocks=2, width=8, tolerance=0.0)
    fitted = model.fit("two-moons", iterations=50, tracker=heard)
    assert heard.params["model"] == "JKOiFlow"
    assert heard.params["width"] == 8
    assert heard.params["data"] == "two-moons"
    of_training = [(name, step) for name, _, step in heard.metrics if step is not None]
    assert {name.partition("/")[2] for name, _ in of_training} == {"loss", "validation"}
    assert {name.partition("/")[0] for name, _ in of_training} == {entry["stage"] for entry in fitted.history}
    steps = [step for _, step in of_training]
    assert steps == sorted(steps)
    assert steps[-1] == sum(entry["steps"] for entry in fitted.history)
    last = {name: value for name, value, step in heard.metrics if step is None}
    assert last["validation NLL"] == fitted.record.nll
    assert last["steps"] == 50
    further = Heard()
    fitted.fit("two-moons", warm_start=True, iterations=4, tracker=further)
    assert further.metrics


@pytest.mark.usefixtures("few_rows")
def test_a_comparison_is_told_trial_by_trial_with_its_pictures() -> None:
    heard = Heard()
    few = {"iterations": 4, "points": 50, "progress": False}
    board = gf.compare("two-moons", ["nsf", "gaussian"], seeds=[0, 1], tracker=heard, **few)
    assert heard.params["models"] == ["nsf", "gaussian"]
    told = {name: value for name, value, step in heard.metrics if step is None}
    for row in board.frame.to_dict("records"):
        assert told[f"two-moons/{row['model']}/seed {row['seed']}/nll"] == row["nll"]
    assert any(step for name, _, step in heard.metrics if name.startswith("two-moons/nsf/seed 1/"))
    assert {"leaderboard", "two-moons-density"} <= set(heard.figures)


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with TensorBoard(tmp_path / "python") as tracker:
        gf.models.FlowMatching(2, width=8).fit("two-moons", iterations=25, tracker=tracker)
    words = ["fit", "two-moons", "--model", "nsf", "--iterations", "3", "-o", str(tmp_path / "run")]
    assert main([*words, "--tracker", f"tensorboard:{tmp_path / 'cli'}"]) == 0
    for folder in ("python", "cli"):
        read = accumulator.EventAccumulator(str(tmp_path / folder)).Reload()
        assert "validation NLL" in read.Tags()["scalars"]
        assert read.Tags()["tensors"] == ["settings/text_summary"]
    assert main([*words[:-1], str(tmp_path / "other"), "--tracker", "wandb"]) == 2
