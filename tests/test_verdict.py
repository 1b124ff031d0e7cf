"""What a comparison says in a sentence, on boards that were made up."""

from __future__ import annotations

import pytest

from genflow.studies.comparison.verdict import Contest, Lead, headline, verdict_on

SURE, OPEN = Lead("maf", 0.2, 0.05, 1e-4), Lead("cnf", 0.05, 0.05, 0.3)


def test_a_lead_is_told_with_its_size_and_its_error():
    verdict = verdict_on(Contest("moons", "nsf", [SURE, Lead("cnf", 1.0, 0.1, 1e-9)]))
    assert verdict.sentence == "nsf leads on moons, 0.200 ± 0.050 nats per row ahead of maf: more than chance."
    assert not verdict.remarks


def test_a_tie_is_no_lead():
    verdict = verdict_on(Contest("moons", "nsf", [OPEN, SURE]))
    assert verdict.short == "nsf and cnf are level on moons"
    assert "leads" not in verdict.sentence
    assert (
        "cnf, which chance would explain; maf, 0.200 ± 0.050 behind, is beaten by more than chance" in verdict.sentence
    )
    both = verdict_on(Contest("moons", "nsf", [OPEN, Lead("maf", 0.06, 0.05, 0.2)]))
    assert both.sentence.startswith("nsf, cnf and maf are all level on moons")


def test_what_chance_would_explain_is_a_lead_over_one_that_is_level():
    """One that is nearer may be beaten for certain, where one farther away varies from training to training."""
    unsteady = Lead("cnf", 5.0, 4.0, 0.3)
    assert verdict_on(Contest("moons", "nsf", [SURE, unsteady])).sentence == (
        f"nsf and cnf are level on moons: nsf is {unsteady} nats per row ahead of cnf, which chance would explain; "
        f"maf, {SURE} behind, is beaten by more than chance."
    )


def test_the_border_of_chance_is_the_corrected_level():
    assert not Lead("b", 2.0, 1.0, 0.05).sure
    assert Lead("b", 2.0, 1.0, 0.0499).sure
    assert not Lead("b", 2.0, 0.1).sure  # not tested


def test_one_model_with_a_likelihood_is_compared_with_none():
    verdict = verdict_on(Contest("moons", "nsf", failures=["maf"], without=["latent"]))
    assert verdict.sentence == "nsf alone has a likelihood on moons: there is none to compare it with."
    assert list(verdict.remarks) == ["No density, hence no place in this: latent.", "Without a result: maf."]
    assert verdict_on(Contest("moons", "")).sentence == "No model has a likelihood on moons."


def test_a_conditional_comparison_says_that_it_is_one():
    (remark,) = verdict_on(Contest("flats", "nsf", [SURE], given=["city", "year"])).remarks
    assert remark == "The densities are conditional: of the other columns given city and year."


def test_the_ceiling_is_named_where_it_is_known():
    (remark,) = verdict_on(Contest("moons", "nsf", [SURE], ceiling=Lead("truth", 0.013, 0.002))).remarks
    assert "0.0130 ± 0.0020 nats per row above the true density" in remark


def test_the_best_simple_model_is_named():
    (remark,) = verdict_on(Contest("moons", "nsf", [SURE, Lead("kde", 0.5, 0.1, 1e-5)], simple=["kde"])).remarks
    assert remark == "The best simple model, kde, is 0.50 ± 0.10 nats per row behind."
    (remark,) = verdict_on(Contest("moons", "kde", [SURE], simple=["kde"])).remarks
    assert remark == "kde is a simple model: no flow gains on it here."


def contest(data: str, leader: str, *leads: Lead) -> Contest:
    return Contest(data, leader, leads)


@pytest.mark.parametrize(
    ("contests", "said"),
    [
        ([contest("a", "nsf", SURE)], "nsf leads on a"),
        ([contest("a", "nsf", OPEN)], "nsf and cnf are level on a"),
        ([contest("a", "")], "No likelihood on a"),
        ([contest(d, "nsf", SURE) for d in "abc"], "nsf leads on all 3 data sets"),
        ([contest("a", "nsf", SURE), contest("b", "nsf", OPEN)], "nsf leads on a; nsf and cnf are level on b"),
        ([contest("a", "x", SURE), contest("b", "y", SURE), contest("c", "x", SURE)], "x leads on a and c, y on b"),
        (
            [*(contest(d, "x", SURE) for d in "abc"), contest("d", "y", SURE), contest("e", "x", OPEN)],
            "x leads on 3 of 5 data sets, y on 1; 1 open",
        ),
        ([contest(d, "x", OPEN) for d in "abcd"], "No model leads on any of 4 data sets by more than chance"),
    ],
)
def test_the_title_answers(contests, said):
    assert headline(contests) == said
    assert "?" not in headline(contests)
