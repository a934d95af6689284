"""Learning: from samples to the corrected surrogates of the next iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradopt.corrected.correction import CorrectionTerms
from gradopt.errors import EvaluationError, InputError
from gradopt.loop.learning import corrected_surrogates, global_surrogates, guesses, learned, no_partials, on_corrected
from gradopt.loop.trust_region import TrustRegion
from gradopt.surrogates.configurations.jenn import JENN
from gradopt.truth.protocol import Evaluations, PointStatus

Runs = Callable[..., Any]


def valley(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bend = u[1] - u[0] ** 2
    f = 100.0 * bend**2 + (1.0 - u[0]) ** 2
    return np.array([f]), np.array([[-400.0 * u[0] * bend - 2.0 * (1.0 - u[0]), 200.0 * bend]])


def started(flat: Runs, beside: tuple[float, ...] = (), **options: Any) -> Any:
    """A run after its start at the origin, with samples of the valley at distances from it, as parts of the bounds."""
    made = flat(valley, [0.0, 0.0], **options)
    made.step()
    x = np.array([[4.0 * part, 0.0] for part in beside]).reshape(-1, 2)
    found = [valley(u) for u in x]
    if found:
        y, dydx = np.array([y for y, _ in found]), np.array([dydx for _, dydx in found])
        more = Evaluations(x, y, dydx, [PointStatus.OK] * len(x), [""] * len(x), np.zeros(len(x)))
        made.loop.state = replace(made.state, samples=(made.state.samples[0].with_evaluations(more),))
    return made


@pytest.mark.parametrize(("radius", "count"), [(1e-3, 3), (2.1e-3, 4), (0.1, 5)])
def test_kriging_takes_samples_within_fifty_radii(flat: Runs, radius: float, count: int) -> None:
    """At 0, 0.01, 0.04, 0.1 and 0.4 of the bounds."""
    made = started(flat, (0.01, 0.04, 0.1, 0.4))
    state = replace(made.state, trust_region=TrustRegion(radius=radius))
    state, _ = learned(state, made.problem, made.settings)
    krigings = state.selections[0].selected.correction.krigings
    assert [len(one.kriging.points) for one in krigings] == [count, count]


def test_the_state_that_is_learned_from_stays_as_it_is(flat: Runs, same: Runs, snapshot: Runs) -> None:
    made = started(flat, (0.01, 0.04), configuration=JENN((3,), starts=1))
    before = snapshot(made.state)
    after, text = learned(made.state, made.problem, made.settings)
    assert text == "cold: First fit."
    assert same(made.state.samples[0].evaluated, before.samples[0].evaluated)
    assert made.state.samples[0].fitted is None
    assert after.samples[0].fitted is not None
    assert global_surrogates(after, made.problem) == [after.samples[0].fitted.surrogate]
    assert global_surrogates(made.state, made.problem) == [None]


def test_the_corrected_surrogate_is_the_truth_at_the_iterate(flat: Runs) -> None:
    made = started(flat, (0.01, 0.04))
    found = on_corrected(learned(made.state, made.problem, made.settings)[0], made.problem, made.settings)(np.zeros(2))
    assert found.f == pytest.approx(valley(np.zeros(2))[0][0])
    np.testing.assert_allclose(found.gradient, valley(np.zeros(2))[1][0], atol=1e-14)


def test_an_initial_surrogate_is_the_base_whatever_was_fitted(flat: Runs) -> None:
    made = started(flat, initial=valley)
    initial = made.problem.components[0].initial
    assert global_surrogates(made.state, made.problem) == [initial]
    assert made.state.selections[0].based.corrected.surrogate is initial


def test_without_correction_and_global_surrogate_there_is_no_model(flat: Runs) -> None:
    made = started(flat)
    settings = replace(made.settings, correction=CorrectionTerms(first_order=False))
    expected = r"`correction` must be on while there is no fitted surrogate, got off\. Give a configuration and initial"
    with pytest.raises(InputError, match=expected):
        corrected_surrogates(made.state, made.problem, settings)


def test_without_correction_a_global_surrogate_has_no_edges(flat: Runs) -> None:
    made = started(flat, initial=valley, reach=0.5)
    settings = replace(made.settings, correction=CorrectionTerms(first_order=False))
    (found,) = corrected_surrogates(made.state, made.problem, settings)
    assert np.isneginf(found.lower).all()
    assert np.isposinf(found.upper).all()
    assert found.evaluate(np.array([[3.0, 0.0]])).y[0, 0] == valley(np.array([3.0, 0.0]))[0][0]
    initial = made.problem.components[0].initial
    assert (found.inputs, found.outputs, found.digest) == (initial.inputs, initial.outputs, initial.digest)


# ---- estimates of partials ----


def test_estimates_are_the_partials_of_the_corrected_surrogate(flat: Runs) -> None:
    made = started(flat)
    (guess,) = guesses(made.state, made.problem, made.settings)
    assert guess is not None
    (surrogate,) = corrected_surrogates(made.state, made.problem, made.settings)
    u = np.array([0.1, 0.2])
    np.testing.assert_array_equal(guess(u), surrogate.evaluate(u[None]).dydx()[0])


def test_before_any_correction_they_are_those_of_the_initial_surrogate(flat: Runs) -> None:
    made = flat(valley, [0.0, 0.0], initial=valley)
    (guess,) = guesses(made.state, made.problem, made.settings)
    assert guess is not None
    np.testing.assert_array_equal(guess(np.array([0.1, 0.2])), valley(np.array([0.1, 0.2]))[1])
    (none,) = guesses(flat().state, flat().problem, flat().settings)
    assert none is None


def test_where_the_surrogate_fails_estimates_are_zero(flat: Runs) -> None:
    def fails(u: np.ndarray) -> Any:
        raise EvaluationError("never trained")

    made = flat(valley, [0.0, 0.0], initial=fails)
    (guess,) = guesses(made.state, made.problem, made.settings)
    assert guess is not None
    assert guess(np.zeros(2)).tolist() == [[0.0, 0.0]]
    (zero,) = no_partials(made.state)
    assert zero is not None
    assert zero(np.ones(2)).tolist() == [[0.0, 0.0]]
