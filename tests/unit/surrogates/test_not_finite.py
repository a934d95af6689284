"""A fit or a prediction that is not finite says so: an error, or a status with a note and a warning in the log."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradopt import JENN, MLP, Dataset, GradINN, Surrogate
from gradopt.errors import EvaluationError, InputError
from gradopt.solvers import LBFGS, Adam, LevenbergMarquardt, Status
from gradopt.surrogates.configurations.polish import Polish
from gradopt.surrogates.fitting.incremental import incremental_fit

X = np.linspace(0.05, 0.95, 6)[:, None]
ONE = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])[:, None, None]
MIXED = 10.0 ** np.random.default_rng(0).uniform(-200.0, 200.0, (6, 1, 1))


SHORT = LevenbergMarquardt(max_iterations=30)  # what overflows does so in the first iterations


def quick(kind: Any, **more: Any) -> Any:
    return kind((3,), **{"starts": 1, "solver": SHORT, **more})


DATA = {
    "constant, one partial of 1e200": Dataset(X, np.full((6, 1), 5.0), 1e200 * ONE),
    "constant, one partial of 1e12": Dataset(X, np.full((6, 1), 5.0), 1e12 * ONE),
    "constant, partials of 1e-30": Dataset(X, np.full((6, 1), 5.0), 1e-30 * np.ones((6, 1, 1))),
    "constant, partials of all sizes": Dataset(X, np.ones((6, 1)), MIXED),
    "large inputs, constant, partials of all sizes": Dataset(1e300 * X, np.ones((6, 1)), MIXED),
    "values of 1e300": Dataset(1.0 * X, 1e300 * X, 1e300 * np.ones((6, 1, 1))),
    "values of 1e308": Dataset(X, 1.6e308 * X, 1.6e308 * np.ones((6, 1, 1))),
    "values of 1e-300": Dataset(X, 1e-300 * X, 1e-300 * np.ones((6, 1, 1))),
    "inputs of 1e300": Dataset(1e300 * X, X, 1e-300 * np.ones((6, 1, 1))),
    "denormal inputs": Dataset(1e-310 * X, X, np.ones((6, 1, 1))),
    "inputs of 1e-305": Dataset(1e-305 * X, 1e10 * X, np.ones((6, 1, 1))),
    "an outlier of 1e200": Dataset(X, np.array([1.0, 2.0, 3.0, 4.0, 5.0, 1e200])[:, None], np.ones((6, 1, 1))),
    "partials 1e45 times the values": Dataset(X, X**2, 2e45 * X[:, :, None]),
    "partials 1e160 times the values": Dataset(X, X**2, 2e160 * X[:, :, None]),
}
CONFIGURATIONS = {
    "JENN": quick(JENN),
    "JENN, fixed": quick(JENN, alpha=1e-8),
    "JENN, single": quick(JENN, dtype="float32"),
    "JENN, LBFGS": quick(JENN, solver=LBFGS(max_iterations=20), dtype="float32"),
    "MLP": quick(MLP),
    "MLP, single": quick(MLP, dtype="float32"),
    "MLP, Adam": quick(MLP, solver=Adam(epochs=5, learning_rate=1e200)),
    "GradINN": quick(GradINN, weight=1.0),
}


def check_outcome(surrogate: Surrogate, data: Dataset, logged: list[logging.LogRecord]) -> None:
    """Whatever comes is finite, or has a name."""
    results = []
    for call in (surrogate.predict, surrogate.linearize, surrogate.std, surrogate.std_partials):
        try:
            found = call(data.x)
        except (EvaluationError, InputError):
            continue
        results += list(found) if isinstance(found, tuple) else [found]
    assert all(np.isfinite(array).all() for array in results)
    result = surrogate.fit_result
    if result.status is Status.NOT_FINITE:
        assert result.notes
        assert any(result.notes[-1] == record.getMessage() for record in logged)
    else:
        assert len(results) >= 3  # values, values and partials
        assert np.isfinite(result.total_loss)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_no_fit_and_no_prediction_is_silently_not_finite(
    name: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gradopt")
    data = DATA[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            surrogate = CONFIGURATIONS[kind].fit(data)
        except InputError as refused:
            assert "must vary by 1e-306 to 1e+306" in str(refused)  # noqa: PT017
            return
        check_outcome(surrogate, data, caplog.records)


def surrogate_of(theta: float = 1.0) -> Surrogate:
    """A surrogate with the last weight replaced, which multiplies a hidden unit or is the bias."""
    found: Surrogate = JENN((3,), starts=1, alpha=1e-6).fit(Dataset(X, X**2, 2.0 * X[:, :, None]))
    trained = found.networks[0]
    moved = np.append(trained.theta[:-1], theta)
    return replace(found, networks=(replace(trained, theta=moved),))


OVERFLOWING = surrogate_of(1e308)


@pytest.mark.parametrize("call", ["predict", "linearize", "std", "std_partials"])
def test_a_prediction_that_is_not_finite_is_an_evaluation_error(call: str) -> None:
    broken = replace(
        OVERFLOWING, scaling=replace(OVERFLOWING.scaling, output_scale=np.array([1e10])), lower=np.zeros(1)
    )
    message = r"The outputs that the surrogate predicts must be finite, got inf in row 0, output column 0 \(3 such rows"
    with pytest.raises(
        EvaluationError, match=message + r" of 3\)\. Predict nearer to the training data, or write them"
    ):
        getattr(broken, call)(X[:3])


def test_partials_that_are_not_finite_are_named_with_their_input() -> None:
    steep = replace(OVERFLOWING, scaling=replace(OVERFLOWING.scaling, input_scale=np.array([1e-306])))
    first = replace(
        steep, networks=(replace(steep.networks[0], theta=np.append(1e5 * steep.theta[:-1], 0.0)),), posteriors=()
    )
    at = first.scaling.input_mean[None]
    assert np.isfinite(first.predict(at)).all()
    message = (
        r"The partials that the surrogate predicts must be finite, got -?inf in row 0, output column 0, input colu"
    )
    with pytest.raises(EvaluationError, match=message):
        first.linearize(at)


def test_standard_deviations_that_are_not_finite_are_named() -> None:
    sure = surrogate_of()
    wide = replace(sure, posteriors=(replace(sure.posteriors[0], inflation=np.full((1, 2), 1e200)),))
    for call in (wide.std, wide.std_partials):
        with pytest.raises(EvaluationError, match="The standard deviations that the surrogate predicts must be finite"):
            call(X)


def test_complex_step_predictions_are_checked_too() -> None:
    broken = replace(OVERFLOWING, scaling=replace(OVERFLOWING.scaling, output_scale=np.array([1e10])))
    with pytest.raises(EvaluationError, match="The outputs that the surrogate predicts must be finite"):
        broken.predict(X + 1e-30j)


def test_a_fit_that_diverges_is_logged_with_its_remedy(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gradopt")
    found = MLP((3,), solver=Adam(epochs=5, learning_rate=1e200), starts=1).fit(Dataset(X, X**2))
    assert found.fit_result.status is Status.NOT_FINITE
    assert found.fit_result.notes == (Status.NOT_FINITE.value,)
    assert Status.NOT_FINITE.value in caplog.text


def test_a_surrogate_that_fails_at_its_data_has_the_status_and_a_note(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gradopt")
    data = Dataset(X, X**2, 2.0 * X[:, :, None])
    begun = replace(
        OVERFLOWING,
        configuration=JENN((3,), starts=1, alpha=0.0, solver=LevenbergMarquardt(max_iterations=0)),
        scaling=replace(OVERFLOWING.scaling, output_scale=np.array([1e10])),
    )
    polished = begun.polish(data, Polish())
    assert polished.fit_result.status is Status.NOT_FINITE
    assert "The surrogate fails at its training data. The outputs that the surrogate" in polished.fit_result.notes[-1]
    assert polished.fit_result.notes[-1] in caplog.text


def test_an_incremental_fit_of_impossible_data_is_refused_not_nan() -> None:
    first = incremental_fit(JENN((3,), starts=1), Dataset(X, X**2, 2.0 * X[:, :, None]))
    data = Dataset(np.vstack([X, [[2.0]]]), np.append(X**2, 1.7e308)[:, None], None)
    with pytest.raises(InputError, match="must vary by 1e-306 to"):
        incremental_fit(MLP((3,), starts=1), data, first)


def test_a_posterior_that_is_not_finite_is_none() -> None:
    found = JENN((3,), starts=1, dtype="float32").fit(DATA["partials 1e45 times the values"])
    assert found.fit_result.status is Status.NOT_FINITE
    assert not found.posteriors or np.isfinite(found.std(X)).all()
