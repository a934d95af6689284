"""Polishing about a candidate weighs samples by nearness by its formula, and keeps the fit elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradopt import JENN, MLP, Dataset, Surrogate, Variable
from gradopt.data.scaling import Scaling
from gradopt.errors import InputError, ShapeError
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates import Polish

SCALING = Scaling(np.ones(2), np.array([2.0, 4.0]), np.zeros(2), np.array([1.0, 8.0]), (None, None), (None, None))
CANDIDATE = np.array([0.5, 0.25])
ABOUT = Polish(about="candidate")


def two_samples() -> Dataset:
    """Build one sample at (1, 1), and one that lies 0.5 and 0.25 standardized units from it."""
    slopes = np.array([[[0.0, 0.5], [1.0, np.nan]]] * 2)
    return Dataset(np.array([[1.0, 1.0], [2.0, 2.0]]), np.ones((2, 2)), slopes)


def rosenbrock(n: int = 60) -> Dataset:
    """Evaluate the function at random points and at the candidate, the last row."""
    x = np.concatenate([np.random.default_rng(5).uniform(-2.0, 2.0, (n, 2)), CANDIDATE[None, :]])
    a, b = x.T
    gap = b - a**2
    y = (1.0 - a) ** 2 + 100.0 * gap**2
    dydx = np.stack([-2.0 * (1.0 - a) - 400.0 * a * gap, 200.0 * gap], axis=1)
    return Dataset(x, y[:, None], dydx[:, None, :])


@pytest.fixture(scope="module")
def fitted() -> Surrogate:
    """Fit a net too small to be right everywhere."""
    solver = LevenbergMarquardt(max_iterations=60)
    return JENN((6,), activation="tanh", weights="fixed", solver=solver, starts=1).fit(rosenbrock())


def test_factors_near_follow_the_formula() -> None:
    polish = Polish(about="candidate", magnitude=10.0, width=0.5, reach=0.7)
    values, partials = polish.factors_near(two_samples(), SCALING, np.array([1.0, 1.0]))
    near = np.exp(-(0.5**2 + 0.25**2) / 2.0 / 0.7**2)
    flat = np.array([[1.0, np.exp(-16.0)], [np.exp(-0.25), 0.0]])  # standardized slopes 0, 2; 0.25, not known
    assert values == pytest.approx(np.array([[11.0] * 2, [1.0 + 10.0 * near] * 2]))
    assert partials == pytest.approx(np.stack([1.0 + 10.0 * (1.0 + flat), 1.0 + 10.0 * near * (1.0 + flat)]))


def test_raw_units_apply_to_flatness_and_not_to_nearness() -> None:
    polish = Polish(about="candidate", magnitude=10.0, width=0.5, reach=0.7, units="raw")
    values, partials = polish.factors_near(two_samples(), SCALING, np.array([1.0, 1.0]))
    assert values[1, 0] == pytest.approx(1.0 + 10.0 * np.exp(-(0.5**2 + 0.25**2) / 2.0 / 0.7**2))
    assert partials[0, 0, 1] == pytest.approx(1.0 + 10.0 * (1.0 + np.exp(-1.0)))


def test_a_constant_input_does_not_dilute_the_distance() -> None:
    held = replace(SCALING, input_scale=np.array([2.0, 0.0]))
    values, _ = Polish(about="candidate", magnitude=10.0, reach=0.7).factors_near(two_samples(), held, np.ones(2))
    assert values[1, 0] == pytest.approx(1.0 + 10.0 * np.exp(-(0.5**2) / 0.7**2))


@pytest.mark.parametrize(("about", "magnitude"), [("flat", 1000.0), ("candidate", 100.0)])
def test_the_default_magnitude_depends_on_about(about: str, magnitude: float) -> None:
    assert Polish(about=about).magnitude == magnitude
    assert Polish(magnitude=7.0, about=about).magnitude == 7.0


@pytest.mark.parametrize("kind", ["fixed", "evidence"])
def test_polish_about_a_candidate_multiplies_the_weights_of_the_configuration_and_those_learned(kind: str) -> None:
    data = rosenbrock()
    beta, gamma = np.array([3.0]), np.where([True, False], 2.0, 0.0)
    solver = LevenbergMarquardt(max_iterations=20)
    fitted = JENN((3,), beta=beta, gamma=gamma, weights=kind, solver=solver, starts=1).fit(data)
    if fitted.fit_result.learned is not None:
        beta, gamma = beta * fitted.fit_result.learned.beta, gamma * fitted.fit_result.learned.gamma
    y, dydx = fitted.linearize(data.x)
    wrong = fitted.scaling.scale_outputs(y) - fitted.scaling.scale_outputs(data.y)
    steep = fitted.scaling.scale_partials(data.x, data.y, dydx - data.partials)
    of_values, of_partials = ABOUT.factors_near(data, fitted.scaling, CANDIDATE)
    expected = 0.5 * float((beta * of_values * wrong**2).sum() + (gamma * of_partials * steep**2).sum())
    start = fitted.polish(data, candidate=CANDIDATE).fit_result.history[0]
    assert start == pytest.approx(fitted.fit_result.loss["regularization"] + expected)


def errors(surrogate: Surrogate, data: Dataset) -> np.ndarray:
    """Root mean square error (n,) of value and partials of each sample, standardized."""
    y, dydx = surrogate.linearize(data.x)
    wrong = (y - data.y) / surrogate.scaling.output_scale
    steep = surrogate.scaling.scale_partials(data.x, data.y, dydx - data.partials)[:, 0]
    return np.sqrt((np.concatenate([wrong, steep], axis=1) ** 2).mean(axis=1))


def test_the_candidate_is_fitted_better_than_by_further_training_and_the_rest_as_well(fitted: Surrogate) -> None:
    data = rosenbrock()
    polished = errors(fitted.polish(data, candidate=CANDIDATE), data)
    plain = errors(fitted.polish(data, Polish(magnitude=0.0)), data)
    assert polished[-1] < 0.2 * plain[-1]
    assert np.median(polished[:-1]) < 1.1 * np.median(errors(fitted, data)[:-1])


@pytest.mark.parametrize(
    "change", [{"magnitude": 10.0}, {"width": 1.0}, {"units": "raw"}, {"reach": 1.0}], ids=lambda change: str(change)
)
def test_every_field_changes_the_predictions_about_a_candidate(fitted: Surrogate, change: dict[str, Any]) -> None:
    data = rosenbrock()
    changed = fitted.polish(data, replace(ABOUT, **change), candidate=CANDIDATE)
    assert abs(changed.predict(data.x) - fitted.polish(data, candidate=CANDIDATE).predict(data.x)).max() > 1e-3


def test_the_reach_is_of_no_effect_about_flat(fitted: Surrogate) -> None:
    data = rosenbrock()
    assert np.array_equal(fitted.polish(data, Polish(reach=1.0)).theta, fitted.polish(data).theta)


def test_a_candidate_alone_means_the_default_polish_about_it(fitted: Surrogate) -> None:
    data = rosenbrock()
    told = fitted.polish(data, ABOUT, candidate=CANDIDATE)
    assert np.array_equal(fitted.polish(data, candidate=CANDIDATE).theta, told.theta)
    assert told.fit_result.notes[0].endswith("about [0.5, 0.25].")


def test_a_surrogate_of_values_alone_is_polished_about_a_candidate() -> None:
    data = rosenbrock()
    mlp = MLP((6,), solver=LevenbergMarquardt(max_iterations=30), starts=1).fit(data)
    polished = mlp.polish(data, candidate=CANDIDATE)
    assert polished.fit_result.n_residuals == data.n
    last = slice(data.n - 1, None)
    assert abs(polished.predict(data.x) - data.y)[last] < 0.5 * abs(mlp.predict(data.x) - data.y)[last]


@pytest.mark.parametrize(
    ("polish", "candidate", "message"),
    [
        (ABOUT, None, r"`candidate` must be a point \(d,\), got None. Pass polish\(data, Polish\(about='candidate'\)"),
        (Polish(), CANDIDATE, "`candidate` must be None where the polish is about 'flat', got .*or neither"),
        (None, [np.nan, 1.0], "`candidate` must be finite, got nan in row 0.*Pass the point to magnify"),
    ],
    ids=["missing", "flat", "NaN"],
)
def test_polish_refuses_an_invalid_candidate(
    fitted: Surrogate, polish: Polish | None, candidate: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fitted.polish(rosenbrock(), polish, candidate=candidate)


@pytest.mark.parametrize("candidate", [[1.0], [[1.0, 2.0]], 1.0], ids=str)
def test_polish_refuses_a_candidate_of_another_shape(fitted: Surrogate, candidate: Any) -> None:
    with pytest.raises(ShapeError, match=r"`candidate` must have shape \(d,\) = \(2,\), got .*Pass one point"):
        fitted.polish(rosenbrock(), candidate=candidate)


def test_polish_refuses_a_candidate_outside_the_domain_of_a_transform() -> None:
    x = np.array([[1.0], [2.0], [3.0]])
    data = Dataset(x, x**2, 2.0 * x[:, None], [Variable("a", transform="log")])
    fitted = JENN((2,), solver=LevenbergMarquardt(max_iterations=2), starts=1).fit(data)
    with pytest.raises(InputError, match="be positive in column 'a'"):
        fitted.polish(data, candidate=[-1.0])
