"""Evaluations hold the results of points that succeeded, and no number where a point failed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradopt import Variable
from gradopt.errors import InputError, ShapeError
from gradopt.truth.protocol import Evaluations, PointStatus

OK, FAILED = PointStatus.OK, PointStatus.FAILED


def three() -> Evaluations:
    """Two good points around a failed one, d = 2, m = 1."""
    x, y = np.arange(6.0).reshape(3, 2), np.array([[1.0], [np.nan], [3.0]])
    dydx = np.array([[[1.0, np.nan]], [[np.nan, np.nan]], [[3.0, 4.0]]])
    return Evaluations(x, y, dydx, [OK, FAILED, OK], ["", "burst", ""], np.array([0.1, 0.2, 0.3]))


def test_arrays_are_copied_and_read_only() -> None:
    x = np.zeros((1, 1))
    found = Evaluations(x, x, x[:, None], [OK], [""], np.zeros(1))
    x[0, 0] = 7.0
    assert found.x[0, 0] == 0.0
    for name in ("x", "y", "dydx", "seconds"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(found, name)[...] = 1.0


def test_the_mask_marks_the_good_rows() -> None:
    assert three().n == 3 and three().ok.tolist() == [True, False, True]


def test_the_dataset_keeps_the_good_rows_and_unknown_partials() -> None:
    data = three().dataset([Variable("u", (2,))], [Variable("v")])
    assert data.x.tolist() == [[0.0, 1.0], [4.0, 5.0]] and data.y.tolist() == [[1.0], [3.0]]
    assert data.known.tolist() == [[[True, False]], [[True, True]]]
    assert [v.name for v in (*data.input_variables, *data.output_variables)] == ["u", "v"]


def test_no_good_row_makes_no_dataset() -> None:
    failed = Evaluations(np.zeros((1, 1)), [[np.nan]], [[[np.nan]]], [FAILED], ["burst"], np.zeros(1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one good row, got 1 failed rows, the first with message 'burst'"):
        failed.dataset([Variable("u")], [Variable("v")])
    with pytest.raises(InputError, match="at least one good row, got 0 rows"):
        Evaluations.join([], 1, 1).dataset([Variable("u")], [Variable("v")])


def test_join_appends_in_order() -> None:
    both = Evaluations.join([three(), three()], 1, 2)
    assert both.n == 6 and both.message == ("", "burst", "") * 2 and both.status == (OK, FAILED, OK) * 2
    for name in ("x", "y", "dydx", "seconds"):
        np.testing.assert_array_equal(getattr(both, name), np.concatenate([getattr(three(), name)] * 2))
    assert Evaluations.join([], 3, 2).dydx.shape == (0, 3, 2)


def test_a_status_may_come_as_text() -> None:
    assert replace(three(), status=["ok", "not_finite", "ok"]).status[1] is PointStatus.NOT_FINITE  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros((2, 1))}, r"`y` must have shape \(3, 1\), got \(2, 1\)"),
        ({"y": np.zeros(3)}, r"`y` must have shape \(n, m\)"),
        ({"dydx": np.zeros((3, 2, 1))}, r"`dydx` must have shape \(3, 1, 2\), got \(3, 2, 1\)"),
        ({"seconds": np.zeros(2)}, r"`seconds` must have shape \(3,\), got \(2,\)"),
        ({"status": [OK]}, "`status` must have 3 entries, got 1"),
        ({"message": [""]}, "`message` must have 3 entries, got 1"),
    ],
)
def test_other_shapes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        replace(three(), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.full((3, 2), np.nan)}, r"`x` must be finite, got nan at \[0, 0\]\. Leave the row out"),
        ({"y": np.array([[1.0], [np.nan], [np.nan]])}, r"`y` must be finite in good rows, got nan at \[2, 0\]\. Give"),
        ({"y": np.array([[np.inf], [np.nan], [1.0]])}, r"`y` must be finite in good rows, got inf at \[0, 0\]"),
        (
            {"dydx": np.array([[[1.0, -np.inf]], [[np.nan, np.nan]], [[3.0, 4.0]]])},
            r"`dydx` must be finite or NaN in good rows, got -inf at \[0, 0, 1\]\. Give such a row the status",
        ),
        ({"y": np.ones((3, 1))}, r"`y` must be NaN in failed rows, got 1\.0 at \[1, 0\]\. Put NaN there"),
        ({"dydx": np.ones((3, 1, 2))}, r"`dydx` must be NaN in failed rows, got 1\.0 at \[1, 0, 0\]"),
    ],
)
def test_numbers_that_do_not_fit_the_status_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(three(), **changes)
