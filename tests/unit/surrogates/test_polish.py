"""Polishing magnifies small slopes by its formula, and so fits them better."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradopt import JENN, MLP, Dataset, Surrogate, Variable
from gradopt.data.scaling import Scaling
from gradopt.errors import InputError
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates import Polish

SCALING = Scaling(np.zeros(2), np.array([2.0, 4.0]), np.zeros(2), np.array([1.0, 8.0]), (None, None), (None, None))
SLOPES = np.array([[[0.0, 0.5], [1.0, np.nan]]])  # (n, m, d) of one sample


def one_sample(slopes: np.ndarray = SLOPES) -> Dataset:
    return Dataset(np.ones((1, 2)), np.ones((1, 2)), slopes)


def rosenbrock(n: int = 80) -> Dataset:
    x = np.random.default_rng(5).uniform(-2.0, 2.0, (n, 2))
    a, b = x.T
    gap = b - a**2
    y = (1.0 - a) ** 2 + 100.0 * gap**2
    dydx = np.stack([-2.0 * (1.0 - a) - 400.0 * a * gap, 200.0 * gap], axis=1)
    return Dataset(x, y[:, None], dydx[:, None, :])


@pytest.fixture(scope="module")
def fitted() -> Surrogate:
    """Fit a net too small to be right everywhere."""
    solver = LevenbergMarquardt(max_iterations=60)
    return JENN((5,), activation="tanh", weights="fixed", solver=solver, starts=1).fit(rosenbrock())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("magnitude", -1.0, "`magnitude` must be finite and not negative, got -1.0. The default suits"),
        ("magnitude", np.nan, "`magnitude` must .* got nan"),
        ("magnitude", np.inf, "`magnitude` must .* got inf"),
        ("width", 0.0, "`width` must be finite and positive, got 0.0. The default suits"),
        ("width", -0.1, "`width` must be finite and positive, got -0.1"),
        ("width", np.nan, "`width` must be finite and positive, got nan"),
        ("reach", 0.0, "`reach` must be finite and positive, got 0.0. The default suits"),
        ("about", "optimum", "`about` must be 'flat' or 'candidate', got 'optimum'. 'flat' magnifies small"),
        ("units", "SI", "`units` must be 'standardized' or 'raw', got 'SI'"),
    ],
)
def test_polish_rejects_a_bad_field(field: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Polish(**{field: value})


def test_factors_follow_the_formula_in_standardized_units() -> None:
    # Standardized slopes are dydx * input scale / output scale: 0, 0.5 * 4 / 1 = 2; 1 * 2 / 8 = 0.25, not known.
    factors = Polish(magnitude=10.0, width=0.5).factors(one_sample(), SCALING)
    assert factors == pytest.approx(np.array([[[11.0, 1.0 + 10.0 * np.exp(-16.0)], [1.0 + 10.0 * np.exp(-0.25), 1.0]]]))


def test_factors_follow_the_formula_in_raw_units() -> None:
    factors = Polish(magnitude=10.0, width=0.5, units="raw").factors(one_sample(), SCALING)
    assert factors == pytest.approx(np.array([[[11.0, 1.0 + 10.0 * np.exp(-1.0)], [1.0 + 10.0 * np.exp(-4.0), 1.0]]]))


def test_factors_ignore_the_sign_of_a_slope() -> None:
    assert np.array_equal(Polish().factors(one_sample(-SLOPES), SCALING), Polish().factors(one_sample(), SCALING))


def test_factors_fall_to_one_over_e_at_the_width() -> None:
    factors = Polish(width=0.5, units="raw").factors(one_sample(), SCALING)
    assert (factors[0, 0, 1] - 1.0) / (factors[0, 0, 0] - 1.0) == pytest.approx(np.exp(-1.0))


def test_factors_without_partials_are_refused() -> None:
    with pytest.raises(
        InputError, match="`data` must have at least one known partial, got NaN in all .*Pass data with partials"
    ):
        Polish().factors(one_sample(np.full((1, 2, 2), np.nan)), SCALING)


def test_polish_without_partials_is_refused(fitted: Surrogate) -> None:
    with pytest.raises(InputError, match="`data` must have at least one known partial"):
        fitted.polish(replace(rosenbrock(), dydx=None))


def test_polish_of_a_surrogate_that_ignores_partials_is_refused() -> None:
    mlp = MLP((3,), solver=LevenbergMarquardt(max_iterations=2), starts=1).fit(rosenbrock())
    with pytest.raises(InputError, match="partial"):
        mlp.polish(rosenbrock())


@pytest.mark.parametrize(("argument", "names"), [("inputs", ["a", "b"]), ("outputs", ["f"])], ids=["inputs", "outputs"])
def test_polish_rejects_other_variables(fitted: Surrogate, argument: str, names: list[str]) -> None:
    changes: dict[str, Any] = {argument: [Variable(name) for name in names]}
    with pytest.raises(InputError, match=rf"`data\.{argument}` must equal .*in its order and units"):
        fitted.polish(replace(rosenbrock(), **changes))


def test_polish_rejects_one_sample(fitted: Surrogate) -> None:
    with pytest.raises(InputError, match="`data` must hold at least 2 samples"):
        fitted.polish(rosenbrock().select([0]))


def flat_error(surrogate: Surrogate, data: Dataset) -> float:
    """Root mean square error, standardized, of the partials below a tenth of standardized units."""
    known = surrogate.scaling.scale_partials(data.x, data.y, data.partials)
    found = surrogate.scaling.scale_partials(data.x, data.y, surrogate.linearize(data.x)[1])
    flat = abs(known) < 0.1
    assert flat.sum() >= 5
    return float(np.sqrt(np.mean((found - known)[flat] ** 2)))


def test_polish_lowers_the_error_of_small_partials(fitted: Surrogate) -> None:
    data = rosenbrock()
    polished = fitted.polish(data)
    assert flat_error(polished, data) < 0.3 * flat_error(fitted, data)


def test_polish_fits_small_partials_better_than_further_training(fitted: Surrogate) -> None:
    data = rosenbrock()
    assert flat_error(fitted.polish(data), data) < 0.5 * flat_error(fitted.polish(data, Polish(magnitude=0.0)), data)


@pytest.mark.parametrize("change", [{"magnitude": 10.0}, {"width": 1.0}, {"units": "raw"}], ids=str)
def test_every_field_of_polish_changes_the_predictions(fitted: Surrogate, change: dict[str, Any]) -> None:
    data = rosenbrock()
    changed, default = fitted.polish(data, Polish(**change)), fitted.polish(data)
    assert abs(changed.predict(data.x) - default.predict(data.x)).max() > 1e-3


def test_polish_without_magnitude_starts_at_the_loss_of_the_fit(fitted: Surrogate) -> None:
    polished = fitted.polish(rosenbrock(), Polish(magnitude=0.0))
    assert polished.fit_result.history[0] == pytest.approx(fitted.fit_result.total_loss, rel=1e-9)


@pytest.mark.parametrize("kind", ["fixed", "evidence"])
def test_polish_multiplies_the_weights_of_the_configuration_and_those_learned(kind: str) -> None:
    data = rosenbrock()
    gamma = np.where([True, False], 2.0, 0.0)
    solver = LevenbergMarquardt(max_iterations=20)
    fitted = JENN((3,), gamma=gamma, weights=kind, solver=solver, starts=1).fit(data)
    if fitted.fit_result.learned is not None:
        gamma = gamma * fitted.fit_result.learned.gamma
    errors = fitted.scaling.scale_partials(data.x, data.y, fitted.linearize(data.x)[1] - data.partials)
    weights = gamma * Polish().factors(data, fitted.scaling)
    values = fitted.fit_result.loss["values"] + fitted.fit_result.loss["regularization"]
    polished = fitted.polish(data)
    assert polished.fit_result.history[0] == pytest.approx(values + 0.5 * float((weights * errors**2).sum()))
    assert polished.fit_result.learned == fitted.fit_result.learned
    assert (polished.fit_result.learned is None) == (kind == "fixed")


def test_polish_leaves_the_surrogate_unchanged(fitted: Surrogate) -> None:
    before = fitted.theta.copy()
    polished = fitted.polish(rosenbrock())
    assert np.array_equal(fitted.theta, before)
    assert not np.array_equal(polished.theta, before)
