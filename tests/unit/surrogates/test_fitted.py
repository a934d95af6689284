"""A surrogate refuses invalid inputs, has a domain, and is immutable."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from gradopt import JENN, Dataset, Surrogate, Variable
from gradopt.errors import InputError, ShapeError
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates import FitInterrupted

QUICK = JENN((3,), solver=LevenbergMarquardt(max_iterations=5), starts=1)
INPUTS = (Variable("speed", units="m/s", lower=10.0, upper=30.0), Variable("chord", (2,), units="m"))
METHODS = pytest.mark.parametrize("method", ["predict", "linearize"])


def drag(n: int = 10, inputs: tuple[Variable, ...] = INPUTS, seed: int = 0) -> Dataset:
    """Make data within [12, 28] x [0.5, 1.5]^2."""
    u = np.random.default_rng(seed).random((n, 3))
    u[0], u[1] = 0.0, 1.0
    speed, root, tip = (u * [16.0, 1.0, 1.0] + [12.0, 0.5, 0.5]).T
    partials = np.stack([speed * (root + tip), speed**2 / 2.0, speed**2 / 2.0], axis=1)
    return Dataset(
        np.stack([speed, root, tip], axis=1),
        (speed**2 * (root + tip) / 2.0)[:, None],
        partials[:, None, :],
        inputs,
        (Variable("drag", units="N"),),
    )


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    """Fit a small surrogate once."""
    return QUICK.fit(drag())


@METHODS
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((4, 2)), r"`x` must have shape \(n, d\) = \(n, 3\), got \(4, 2\)\. Samples come first, then columns"),
        (np.ones((3, 7)), r"`x` must have shape .* got \(3, 7\)\. .*pass `x\.T`"),
        (np.ones(3), r"got \(3,\)\. .*for one sample `x\[None, :\]`"),
        (np.ones((2, 3, 1)), r"got \(2, 3, 1\)\. Samples come first"),
    ],
)
def test_inputs_of_wrong_shape_are_refused(surrogate: Surrogate, method: str, x: np.ndarray, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        getattr(surrogate, method)(x)


@METHODS
@pytest.mark.parametrize("bad", [np.nan, np.inf, complex(20.0, np.nan)])
def test_inputs_that_are_not_finite_are_refused_with_row_and_column(
    surrogate: Surrogate, method: str, bad: Any
) -> None:
    x = drag().x.astype(complex)
    x[2, 1] = bad
    with pytest.raises(InputError, match=r"`x` must be finite, .* in row 2, column 'chord\[0\]' \(1 bad rows of 10\)"):
        getattr(surrogate, method)(x)


def test_inputs_that_are_no_numbers_are_refused(surrogate: Surrogate) -> None:
    with pytest.raises(InputError, match="`x` must hold real numbers"):
        surrogate.predict([["20", "1", "1"]])


@METHODS
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_inputs_in_other_units_are_refused_with_the_expected_units(
    surrogate: Surrogate, method: str, sign: float
) -> None:
    x = drag().x * [1.0, 1.0, sign * 1000.0]
    message = r"near the domain \[0\.5, 1\.5\] in column 'chord\[1\]', got -?500 in row 0.*Are its units m,"
    with pytest.raises(InputError, match=message):
        getattr(surrogate, method)(x)


def test_inputs_in_another_order_are_refused_with_the_expected_order(surrogate: Surrogate) -> None:
    with pytest.raises(InputError, match=r"in the order \['speed', 'chord\[0\]', 'chord\[1\]'\]"):
        surrogate.predict(drag().x[:, [1, 0, 2]])


def test_predictions_are_made_up_to_ten_widths_outside_the_domain(surrogate: Surrogate) -> None:
    near, far = [[229.0, 1.0, 1.0]], [[231.0, 1.0, 1.0]]
    assert np.isfinite(surrogate.predict(near)).all()
    with pytest.raises(InputError, match=r"near the domain \[10, 30\]"):
        surrogate.predict(far)


def test_evaluate_does_not_check_the_domain(surrogate: Surrogate) -> None:
    assert np.isfinite(surrogate.evaluate(np.full((1, 3), 1e6)).y).all()


@METHODS
def test_inputs_outside_the_domain_of_a_transform_are_refused(method: str) -> None:
    data = drag(inputs=(INPUTS[0], replace(INPUTS[1], transform="log")))
    x = np.array([[20.0, 1.0, 0.0]])
    with pytest.raises(InputError, match=r"positive in column 'chord\[1\]', which has transform 'log', got 0\.0"):
        getattr(QUICK.fit(data), method)(x)


def test_the_domain_is_that_of_the_bounds_elsewhere_that_of_the_data(surrogate: Surrogate) -> None:
    assert surrogate.lower.tolist() == [10.0, 0.5, 0.5]
    assert surrogate.upper.tolist() == [30.0, 1.5, 1.5]


def test_refitting_extends_the_domain_to_the_new_data(surrogate: Surrogate) -> None:
    data = drag()
    shifted = replace(data, x=data.x + [0.0, 0.25, -0.25])
    refitted = surrogate.refit(shifted, QUICK.data_weights(shifted), None)
    assert refitted.lower.tolist() == [10.0, 0.5, 0.25]
    assert refitted.upper.tolist() == [30.0, 1.75, 1.5]


@pytest.mark.parametrize("n", [0, 1])
def test_any_number_of_rows_is_predicted(surrogate: Surrogate, n: int) -> None:
    y, dydx = surrogate.linearize(drag().x[:n])
    assert y.shape == (n, 1) and dydx.shape == (n, 1, 3)


def test_d_and_m_count_columns(surrogate: Surrogate) -> None:
    assert (surrogate.d, surrogate.m) == (3, 1)


def test_attributes_cannot_be_assigned(surrogate: Surrogate) -> None:
    with pytest.raises(FrozenInstanceError):
        surrogate.theta = np.zeros(1)  # type: ignore[misc]


@pytest.mark.parametrize("name", ["theta", "lower", "upper"])
def test_arrays_cannot_be_written(surrogate: Surrogate, name: str) -> None:
    array = getattr(surrogate, name)
    with pytest.raises(ValueError, match="read-only"):
        array[...] = array.copy()


def test_data_digest_is_that_of_the_data(surrogate: Surrogate) -> None:
    assert surrogate.data_digest == drag().digest


def test_different_surrogates_have_different_digests(surrogate: Surrogate) -> None:
    renamed = QUICK.fit(replace(drag(), outputs=(Variable("lift"),)))
    reseeded = replace(QUICK, seed=1).fit(drag())
    assert len({surrogate.digest, renamed.digest, reseeded.digest}) == 3
    assert surrogate.digest == QUICK.fit(drag()).digest


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["copy", "pickle"])
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_copies_predict_the_same(duplicate: Any, used: bool) -> None:
    original, x = QUICK.fit(drag()), drag(seed=1).x
    if used:
        original.predict(x), original.digest
    twin: Surrogate = duplicate(original)
    assert np.array_equal(twin.linearize(x)[1], original.linearize(x)[1])
    assert twin.digest == original.digest
    assert twin.fit_result == original.fit_result


def test_an_interrupted_polish_keeps_its_state(surrogate: Surrogate) -> None:
    def interrupt(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(FitInterrupted, match="after 1 iterations") as stop:
        surrogate.polish(drag(), callback=interrupt)
    assert stop.value.surrogate.fit_result.history[-1] < stop.value.surrogate.fit_result.history[0]


def test_fit_interrupted_is_a_keyboard_interrupt() -> None:
    assert issubclass(FitInterrupted, KeyboardInterrupt)
