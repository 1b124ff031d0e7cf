"""The report as a page: what a reader sees of it in a browser, on a wide screen and on a phone, by day and by night."""

from __future__ import annotations

import json
import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import genflow as gf
from genflow.data.kinds import Column, Schema
from genflow.storage.components import describe
from genflow.studies import Board
from genflow.studies.comparison.contests import contests
from genflow.studies.comparison.examples import examples
from genflow.studies.comparison.pictures.calibration import from_uniform, norms
from genflow.studies.comparison.pictures.columns import distance, rank_correlations
from genflow.studies.comparison.settings import settings_of
from genflow.studies.reporting.drawing import dots
from genflow.studies.reporting.plot import Panel, Picture, Plot, Row
from genflow.studies.reporting.sheet import Cell, Heading, Line, Sheet, cells_of
from genflow.studies.reporting.svg import svg
from genflow.studies.reporting.tones import DARK, INK, MODELS
from tests.browser import CHROMIUM, Page

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

SMALLEST = """(() => { let least = 1e9; const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) { const text = walk.currentNode, box = text.parentElement;
    if (!text.data.trim() || ["SCRIPT", "STYLE"].includes(box.tagName)) continue;
    const drawn = box.closest("svg"), size = parseFloat(getComputedStyle(box).fontSize);
    least = Math.min(least, size * (drawn ? drawn.getScreenCTM().a : 1)); }
  return least; })()"""


@pytest.fixture(scope="module")
def board():
    """Two data sets, one in the plane and one of five columns, and a model that fails on neither."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5))
    return gf.compare(["two-moons", table], ["gaussian", "nsf", "cnf"], iterations=3, points=60, progress=False)


@pytest.fixture(scope="module")
def page(board):
    return board.folder / "report.html"


@pytest.mark.slow
def test_the_title_is_the_answer_and_the_sentences_come_first(board, page):
    text = page.read_text(encoding="utf-8")
    assert f"<title>{board.headline}</title>" in text
    assert "?" not in board.headline
    body = text[text.index("<h1>") :]
    places = [body.index(verdict.sentence) for verdict in board.verdicts.values()]
    places += [body.index('id="ranking"'), body.index('id="likelihood"'), body.index('id="data-two-moons"')]
    assert places == sorted(places)


def test_a_contest_has_the_paired_differences_of_the_board(board):
    for contest in contests(board):
        pairs = board.paired.query(f"data == {contest.data!r} and other == {contest.leader!r}")
        assert {lead.over: lead.nats for lead in contest.leads} == dict(zip(pairs["model"], pairs["difference"]))
        assert [lead.nats for lead in contest.leads] == sorted(lead.nats for lead in contest.leads)
    (moons, _) = contests(board)
    nll = board.summary.query("data == 'two-moons' and best")["nll"].item()
    assert moons.ceiling is not None
    assert moons.ceiling.nats == pytest.approx(nll - board.config["data"]["two-moons"]["nll_true"], abs=1e-6)


def test_a_comparison_of_an_earlier_version_has_a_report(board, tmp_path):
    folder = board.save(tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    for later in ("trials", "clock"):
        del config["arguments"][later]
    (folder / "config.json").write_text(json.dumps(config))
    for arrays in (folder / "evaluation").rglob("*.npz"):
        with np.load(arrays) as read:
            kept = {name: values for name, values in read.items() if name != "efforts"}
        np.savez(arrays, **kept)
    assert "training of each model" in Board(folder).report(tmp_path / "report.html").read_text()


def test_every_link_of_the_contents_leads_somewhere_and_no_name_is_there_twice(page):
    text = page.read_text(encoding="utf-8")
    names = re.findall(r' id="([^"]+)"', text)
    assert len(names) == len(set(names))
    links = re.findall(r'href="#([^"]+)"', text)
    assert set(links) <= set(names)
    assert {"verdict", "ranking", "settings", "data-two-moons", "two-moons-density"} <= set(links)
    assert "http" not in text


def test_files_for_a_paper_lie_beside_it(board):
    names = {path.name for path in (board.folder / "tables").iterdir()}
    assert {"ranking.csv", "ranking.tex", "two-moons.csv", "two-moons.tex"} <= names
    assert (board.folder / "plots" / "figures.pdf").read_bytes().startswith(b"%PDF")
    assert (board.folder / "plots" / "leaderboard.png").is_file()
    assert r"\toprule" in (board.folder / "tables" / "ranking.tex").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_notebook_shows_verdict_table_and_pictures(board):
    shown = board._repr_html_()
    assert board.headline in shown
    assert shown.count("<table") >= 3
    assert "<svg " in shown
    assert "<script" not in shown


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_browser_shows_it_without_a_network(page, width, dark):
    with Page(page, width, dark) as shown:
        assert shown.value("document.documentElement.scrollWidth") <= width
        assert shown.value(SMALLEST) >= 11
        colour = shown.value("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", colour)[0]) < 128) == dark
        assert not shown.requests
        assert not shown.errors


@needs_browser
def test_a_column_is_sorted_by_the_keyboard_and_the_contents_are_followed(page):
    column = """[...document.querySelectorAll("#data-two-moons ~ .scroll table.sortable")][0]"""
    numbers = f"[...{column}.tBodies[0].rows].map((row) => row.cells[1].dataset.key)"
    with Page(page) as shown:
        shown.value(f"{column}.tHead.rows[0].cells[1].querySelector('button').focus()")
        foot = shown.value(f"{column}.tFoot.innerText")
        for order in (1, -1):
            shown.press("Enter")
            found = [float(key) for key in shown.value(numbers)]
            assert found == sorted(found, reverse=order < 0)
        assert shown.value(f"{column}.tHead.rows[0].cells[1].ariaSort") == "descending"
        assert shown.value(f"{column}.tFoot.innerText") == foot
        shown.value("document.querySelector('nav a[href=\"#settings\"]').click()")
        assert shown.value("location.hash") == "#settings"
        stays = f"(() => {{ const box = {column}.parentElement; box.scrollLeft = 300; "
        stays += (
            f"return {column}.rows[1].cells[0].getBoundingClientRect().left - box.getBoundingClientRect().left; }})()"
        )
        assert abs(shown.value(stays)) < 3
        assert not shown.errors


def test_colours_and_names_of_a_drawing_are_the_pages():
    def draw(axis):
        dots(axis, np.arange(5), np.arange(5), MODELS[0])
        axis.set(xlim=(-1, 9), ylim=(-1, 9))
        axis.set_xlabel("<b>&")

    one, two = (svg(Panel("a < b", draw), (1.75, 1.75), name) for name in ("one", "two"))
    assert f"var(--t{MODELS[0][1:]})" in one
    assert not re.search("|".join(f": {colour}" for colour in DARK), one)
    assert "&lt;b&gt;&amp;" in one
    assert 'aria-label="a &lt; b"' in one
    assert not set(re.findall(r'id="([^"]+)"', one)) & set(re.findall(r'id="([^"]+)"', two))
    assert one.count("h.1") == 5  # a dot is a line of no length
    assert re.search(r'd="M[\d.]+ [\d.]+L[\d.]+ [\d.]+"', one)  # what is longer stays, a spine


def test_a_sheet_marks_the_best_and_none_where_all_are_alike():
    from genflow.studies.comparison.columns import LEADERBOARD

    columns = [column for column in LEADERBOARD if column.name in ("nll", "w2", "c2st", "parameters")]
    rows = [
        {"nll": 1.0, "nll_se": 0.1, "w2": 0.3, "w2_floor": 0.3, "c2st": 0.49, "parameters": 5},
        {"nll": 2.0, "nll_se": 0.1, "w2": 0.2, "w2_floor": 0.3, "c2st": 0.61, "parameters": 5},
        {"nll": np.nan, "nll_se": np.nan, "w2": 0.9, "w2_floor": 0.3, "c2st": np.nan, "parameters": 5},
    ]
    best = [[cell.best for cell in cells] for cells in cells_of(columns, rows)]
    # A W2 at the floor is as good as one below it; as many parameters are no merit.
    assert best == [[True, True, True, False], [False, True, False, False], [False, False, False, False]]


def test_a_sheet_is_csv_and_latex():
    sheet = Sheet([Heading("model"), Heading("x_1")], [Line([Cell("50 % & more"), Cell("1.0 ± 0.1", 1.0, best=True)])])
    assert sheet.csv() == "model,x_1\n50 % & more,1.0\n"
    assert r"50 \% \& more & \textbf{1.0 $\pm$ 0.1} \\" in sheet.latex()


def test_calibration_is_uniform_for_normal_noise_and_not_for_wide():
    z = np.random.default_rng(0).normal(size=(2000, 6))
    # The Kolmogorov-Smirnov distance exceeds 2 / sqrt(n) once in 1500.
    assert from_uniform(norms(z)) < 2 / np.sqrt(2000)
    assert from_uniform(norms(1.3 * z)) > 0.3


def test_the_distance_of_columns_is_that_of_scipy():
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=70), rng.normal(0.5, 1.0, size=50).round(1)
    assert distance(x, y) == pytest.approx(ks_2samp(x, y).statistic)


def test_a_picture_that_fails_takes_no_other_along():
    from genflow.studies.reporting.gallery import hang

    def broken():
        raise ValueError("no ink")

    plots = [Plot("a", "A", "", broken), Plot("b", "B", "", lambda: Picture([Row([Panel("b", lambda axis: None)])]))]
    gallery = hang(plots)
    assert list(gallery.pictures) == ["b"]
    assert gallery.failures == ("the picture a could not be drawn (ValueError: no ink)",)
    assert INK in DARK


def test_progress_in_a_notebook_is_a_bar_that_goes(monkeypatch, capsys):
    from genflow.studies.reporting.terminal import follow

    pages = []

    def display(page, display_id):
        pages.append(page._repr_html_())
        return SimpleNamespace(update=lambda page: pages.append(page._repr_html_()))

    shell = type("ZMQInteractiveShell", (), {})()
    notebook, displays = ModuleType("IPython"), ModuleType("IPython.display")
    notebook.get_ipython, displays.display = lambda: shell, display
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    assert list(follow(range(4), 4, "solving <x>", True)) == list(range(4))
    assert '<progress max="1" value="0.5000"' in pages[2]
    assert "solving &lt;x&gt;: 2 of 4, about" in pages[2]
    assert pages[-1] == ""
    assert capsys.readouterr().err == ""


def test_rank_correlations_are_of_the_rows_that_have_both():
    """Rows that miss some values: what is known of the others counts, as in pandas, which ranks anew for each pair."""
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(3000, 4)) @ rng.normal(size=(4, 4))
    truth = pd.DataFrame(whole).corr("spearman").to_numpy()
    np.testing.assert_allclose(rank_correlations(whole), truth, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        rank_correlations(whole.round()), pd.DataFrame(whole.round()).corr("spearman"), atol=1e-12
    )
    gaps = np.where(rng.random(whole.shape) < 0.3, np.nan, whole)
    np.testing.assert_allclose(rank_correlations(gaps), pd.DataFrame(gaps).corr("spearman"), atol=5e-3)
    gaps[:, 2], gaps[0, 2] = 1.0, np.inf
    assert not rank_correlations(gaps)[2].any()
    assert not rank_correlations(gaps[:1]).any()


def test_examples_are_in_the_words_of_the_table_beside_gaps_and_lost_samples(tmp_path):
    columns = [
        Column("spent", grid=0.01, missing=True),
        Column("city", "class", ("Graz", "Oslo"), dtype="object"),
        Column("age", "integer", dtype="int64"),
        Column("since", "date", unit="days", dtype="str", format="%d.%m.%Y"),
    ]
    rows = np.array([[10800.25, 1, 41, 0], [np.nan, 0, 17, 1], [0.5, 1, 30, 2]])
    lost = np.array([[np.inf, 1, np.nan, np.nan], [1.5, np.nan, 8, -np.inf]])
    names = [column.name for column in columns]
    view = SimpleNamespace(
        parts={"test": rows},
        models=[SimpleNamespace(label="cnf", colour=INK, arrays={"samples": lost})],
        description={"columns": names, "schema": describe(Schema(columns))},
        board=SimpleNamespace(folder=tmp_path),
    )
    told = [[cell.text for cell in line.cells] for line in examples(view).lines]
    assert told == [
        ["data", "1.08e+04", "Oslo", "41", "01.01.1970"],
        ["data", "–", "Graz", "17", "02.01.1970"],
        ["data", "0.5", "Oslo", "30", "03.01.1970"],
        ["cnf", "inf", "Oslo", "–", "–"],
        ["cnf", "1.5", "–", "8", "-inf"],
    ]


def test_settings_are_those_of_every_data_set(board):
    settings = {setting.name: setting.value for setting in settings_of(board, "cnf")}
    five = next(name for name in board.data_names if name != "two-moons")
    assert settings["dim"] == f"2 (two-moons); 5 ({five})"
    assert settings["frequencies"] == f"1, 20 (two-moons); 1, 3 ({five})"
    assert settings["whiten"] == "yes"  # what the rule chose
    assert settings["width"] == "128"
