"""Samples: rows of one truth in the order of a run, what counts as an evaluation, and the fit to them."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from gradopt.corrected.samples import Gain, Samples
from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.errors import InputError
from gradopt.surrogates.configurations.jenn import JENN
from gradopt.truth.protocol import Evaluations, PointStatus

INPUTS, OUTPUTS = (Variable("x", (2,), lower=-2.0, upper=2.0),), (Variable("f"),)
POINTS = np.array([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.6], [0.7, 0.8]])
SMALL = JENN((4,), starts=1)
START = Samples.start(INPUTS, OUTPUTS)
NONE = np.empty((0, 2))


def f(x: np.ndarray) -> np.ndarray:
    """x0^2 + 3 x1 at points (n, 2)."""
    return x[:, :1] ** 2 + 3.0 * x[:, 1:]


def slopes(x: np.ndarray) -> np.ndarray:
    return np.stack([2.0 * x[:, 0], np.full(len(x), 3.0)], axis=1)[:, None]


def evaluations(x: np.ndarray, failed: tuple[int, ...] = (), unknown: tuple[int, ...] = ()) -> Evaluations:
    """Evaluations at points (n, 2), some rows failed, some without their second partial."""
    y, dydx = f(x), slopes(x)
    dydx[list(unknown), 0, 1] = np.nan
    y[list(failed)], dydx[list(failed)] = np.nan, np.nan
    status = [PointStatus.FAILED if row in failed else PointStatus.OK for row in range(len(x))]
    message = ["no mesh" if row in failed else "" for row in range(len(x))]
    return Evaluations(x, y, dydx, status, message, np.zeros(len(x)))


def data_of(samples: Samples) -> Dataset:
    assert samples.data is not None
    return samples.data


def test_there_is_nothing_at_the_start() -> None:
    assert START.data is None
    assert (START.evaluations, START.finite_differenced, START.fitted) == (0, False, None)
    assert not START.known(0)


def test_rows_come_in_the_order_in_which_they_were_evaluated() -> None:
    samples = START.with_evaluations(evaluations(POINTS[[1]])).with_evaluations(evaluations(POINTS[[0, 1]]))
    np.testing.assert_array_equal(data_of(samples).x, POINTS[[1, 0]])
    np.testing.assert_array_equal(data_of(samples).partials, slopes(POINTS[[1, 0]]))
    assert [samples.row(point) for point in POINTS[:2]] == [1, 0]
    assert samples.evaluations == 2


def test_samples_are_immutable() -> None:
    first = START.with_evaluations(evaluations(POINTS[:2]))
    first.with_evaluations(evaluations(POINTS[2:])).with_partials(0, np.zeros((1, 2))).with_beside(
        POINTS, np.zeros((len(POINTS), 1))
    )
    np.testing.assert_array_equal(data_of(first).partials, slopes(POINTS[:2]))
    assert (first.evaluations, data_of(first).n, first.difference_rows, START.data) == (2, 2, (), None)


def test_failed_points_count_but_are_no_rows() -> None:
    samples = START.with_evaluations(evaluations(POINTS, failed=(1, 3)))
    np.testing.assert_array_equal(data_of(samples).x, POINTS[[0, 2]])
    assert samples.evaluations == 4
    assert samples.with_evaluations(evaluations(POINTS[[1]], failed=(0,))).evaluations == 4


def test_only_failed_points_leave_no_data() -> None:
    samples = START.with_evaluations(evaluations(POINTS[:1], failed=(0,)))
    assert samples.data is None
    assert samples.evaluations == 1


# ---- initial data ----


def initial(y: np.ndarray, dydx: np.ndarray | None = None) -> Samples:
    return Samples.start(INPUTS, OUTPUTS, Dataset(POINTS, y, dydx, [Variable("x", (2,))], [Variable("f")]))


def test_initial_data_cost_nothing_until_they_are_evaluated() -> None:
    samples = initial(f(POINTS), slopes(POINTS))
    assert (samples.evaluations, data_of(samples).n, samples.row(POINTS[2])) == (0, 4, 2)
    samples = samples.with_evaluations(evaluations(POINTS[2:3]))
    assert (samples.evaluations, data_of(samples).n) == (1, 4)


def test_initial_data_get_the_variables_of_the_truth() -> None:
    assert data_of(initial(f(POINTS))).input_variables == INPUTS


def test_an_evaluation_replaces_initial_data_at_its_point() -> None:
    """Initial data of values alone have no partials, without which there is no correction to first order."""
    samples = initial(np.ones((4, 1))).with_evaluations(evaluations(POINTS[2:3]))
    np.testing.assert_array_equal(data_of(samples).partials[2], slopes(POINTS[2:3])[0])
    assert data_of(samples).y[:, 0].tolist() == [1.0, 1.0, f(POINTS[2:3])[0, 0], 1.0]
    assert [samples.known(row) for row in range(4)] == [False, False, True, False]


def test_initial_data_of_other_variables_are_refused() -> None:
    other = Dataset(POINTS, np.ones((4, 1)), inputs=[Variable("x", (2,))])
    with pytest.raises(InputError, match=r"`initial_data\.outputs` must have .*'f'.*'y'.*Make it with them: Dataset\("):
        Samples.start(INPUTS, OUTPUTS, other)
    other = Dataset(POINTS, np.ones((4, 1)), inputs=[Variable("z", (2,))])
    with pytest.raises(InputError, match=r"`initial_data\.inputs` must have the names, shapes and units"):
        Samples.start(INPUTS, OUTPUTS, other)


# ---- finite differences ----


def test_finite_differenced_partials_take_the_place_of_unknown_ones() -> None:
    samples = START.with_evaluations(evaluations(POINTS[:2], unknown=(0, 1)))
    assert [samples.known(row) for row in (0, 1)] == [False, False]
    assert samples.can_differentiate(1)
    samples = samples.with_partials(1, slopes(POINTS[1:2])[0])
    assert samples.finite_differenced
    assert [samples.known(row) for row in (0, 1)] == [False, True]
    assert [samples.can_differentiate(row) for row in (0, 1)] == [True, False]


def test_what_finite_differences_could_not_give_is_not_tried_again() -> None:
    samples = START.with_evaluations(evaluations(POINTS[:1], unknown=(0,)))
    samples = samples.with_partials(0, data_of(samples).partials[0])
    assert not samples.known(0)
    assert not samples.can_differentiate(0)


def test_points_beside_count_once_and_not_again_as_samples() -> None:
    samples = START.with_evaluations(evaluations(POINTS[:1])).with_beside(POINTS[[0, 1, 2, 1]], np.zeros((4, 1)))
    assert (samples.evaluations, data_of(samples).n) == (3, 1)
    samples = samples.with_beside(POINTS[1:3], np.zeros((2, 1))).with_evaluations(evaluations(POINTS[1:2]))
    assert (samples.evaluations, data_of(samples).n) == (3, 2)


def test_a_gain_adds_evaluations_points_beside_and_partials() -> None:
    partials = slopes(POINTS[:1])
    gain = Gain(
        evaluations(POINTS[:2], unknown=(0,)), POINTS[2:], np.zeros((2, 1)), POINTS[:1], partials, np.array([True])
    )
    samples = START.with_gain(gain)
    np.testing.assert_array_equal(data_of(samples).partials, slopes(POINTS[:2]))
    assert (samples.evaluations, samples.difference_rows, samples.refinements) == (4, (0,), (0,))
    np.testing.assert_array_equal(samples.differenced[0], [[False, True]])
    np.testing.assert_array_equal(samples.values, np.zeros((2, 1)))


def test_a_gain_of_evaluations_alone_has_no_finite_differences() -> None:
    gain = Gain.of(evaluations(POINTS))
    assert (gain.beside.shape, gain.points.shape, gain.partials.shape) == ((0, 2), (0, 2), (0, 1, 2))
    assert START.with_gain(gain).evaluations == 4


# ---- fits ----


def test_a_refit_says_what_was_done(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="gradopt"):
        samples = START.with_evaluations(evaluations(POINTS[:1]))
        assert samples.refitted(SMALL, POINTS[0]) == (samples, "")  # one point is not enough
        samples = samples.with_evaluations(evaluations(POINTS[1:3]))
        samples, text = samples.refitted(SMALL, POINTS[0])
        assert text == "cold: First fit."
        assert samples.fitted is not None
        assert samples.refitted(SMALL, POINTS[0]) == (samples, "")  # nothing new
        samples = samples.with_evaluations(evaluations(POINTS[3:]))
        assert samples.refitted(SMALL, POINTS[0])[1].startswith(("warm: ", "restarted: "))
    assert not caplog.records


def test_warnings_pass_again_after_a_fit(caplog: pytest.LogCaptureFixture) -> None:
    START.with_evaluations(evaluations(POINTS)).refitted(SMALL, POINTS[0])
    logging.getLogger("gradopt").warning("heard")
    assert [record.getMessage() for record in caplog.records] == ["heard"]


def test_without_configuration_nothing_is_fitted() -> None:
    samples = START.with_evaluations(evaluations(POINTS))
    assert samples.refitted(None, POINTS[0]) == (samples, "")


def test_an_impossible_fit_is_noted() -> None:
    samples = initial(np.ones((4, 1)))
    found, text = samples.refitted(JENN((4,), starts=1, beta=0.0), POINTS[0])
    assert text.startswith("none: ")
    assert found.fitted is None
