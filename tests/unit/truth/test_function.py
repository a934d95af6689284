"""A function as a truth: accepted results, failed points, and errors of the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import Variable
from gradopt.errors import EvaluationError, InputError, ShapeError
from gradopt.truth.function import FunctionTruth
from gradopt.truth.protocol import PointStatus

U2, V1, V2 = Variable("u", (2,)), Variable("v"), Variable("v", (2,))


def truth(f: Callable[[np.ndarray], Any], inputs: Any = U2, outputs: Any = V1, **options: Any) -> FunctionTruth:
    return FunctionTruth(f, (inputs,), (outputs,), **options)


@pytest.mark.parametrize("y", [3, 3.0, np.float64(3.0), [3.0], np.array([3.0]), np.array(3.0)], ids=repr)
def test_one_output_may_be_a_number_or_an_array_of_one(y: Any) -> None:
    found = truth(lambda x: y).evaluate([[1.0, 2.0]])
    assert found.y.tolist() == [[3.0]] and np.isnan(found.dydx).all() and found.ok.all()


@pytest.mark.parametrize("dydx", [[1.0, 2.0], [[1.0, 2.0]], np.array([1, 2])], ids=repr)
def test_partials_of_one_output_may_be_flat(dydx: Any) -> None:
    assert truth(lambda x: (3.0, dydx)).evaluate([[1.0, 2.0]]).dydx.tolist() == [[[1.0, 2.0]]]


@pytest.mark.parametrize("dydx", [2.0, [2.0], [[2.0]]], ids=repr)
def test_partials_of_one_by_one_may_be_a_number(dydx: Any) -> None:
    assert truth(lambda x: (3.0, dydx), Variable("u")).evaluate([[1.0]]).dydx.tolist() == [[[2.0]]]


def test_partials_by_one_input_may_be_flat() -> None:
    assert truth(lambda x: ([3.0, 4.0], [1.0, 2.0]), Variable("u"), V2).evaluate([[1.0]]).dydx.shape == (1, 2, 1)


def test_partials_are_of_by_wrt() -> None:
    dydx = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert truth(lambda x: (np.zeros(2), dydx), outputs=V2).evaluate([[1.0, 2.0]]).dydx[0].tolist() == dydx.tolist()


def test_the_function_gets_columns_in_the_order_of_the_variables() -> None:
    both = FunctionTruth(lambda x: x[0] - 10.0 * x[2], (U2, Variable("w")), (V1,))
    assert both.evaluate([[1.0, 2.0, 3.0]]).y.tolist() == [[-29.0]]


def test_unknown_partials_are_no_failure() -> None:
    found = truth(lambda x: (3.0, [1.0, np.nan])).evaluate([[1.0, 2.0]])
    assert found.ok.all() and np.isnan(found.dydx[0, 0]).tolist() == [False, True]
    assert truth(lambda x: (3.0, None)).evaluate([[1.0, 2.0]]).ok.all()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.nan, r"y\[0\] is nan"),
        (-np.inf, r"y\[0\] is -inf"),
        ((np.nan, [1.0, 2.0]), r"y\[0\] is nan"),
        ((1.0, [1.0, np.inf]), r"dydx\[0, 1\] is inf"),
    ],
)
def test_results_that_are_not_finite_fail(returned: Any, message: str) -> None:
    found = truth(lambda x: returned).evaluate([[1.0, 2.0]])
    assert found.status == (PointStatus.NOT_FINITE,)
    assert np.isnan(found.y).all() and np.isnan(found.dydx).all()
    with pytest.raises(InputError, match=message):
        found.dataset([U2], [V1])


class Burst(Exception):
    """What some solver raises."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (EvaluationError("no polar"), "no polar"),
        (om.AnalysisError("no convergence"), "AnalysisError: no convergence"),
        (Burst("burst"), "Burst: burst"),
        (EvaluationError(), "EvaluationError"),
    ],
)
def test_a_failed_point_is_a_row_and_the_others_go_on(error: Exception, message: str) -> None:
    def f(x: np.ndarray) -> tuple[float, np.ndarray]:
        if x[0] > 1.5:
            raise error
        return x[0], np.array([1.0, 0.0])

    found = truth(f, failures=(Burst,)).evaluate([[1.0, 0.0], [2.0, 0.0], [0.5, 0.0]])
    assert found.status == (PointStatus.OK, PointStatus.FAILED, PointStatus.OK)
    assert found.message == ("", message, "")
    assert found.y[[0, 2], 0].tolist() == [1.0, 0.5]
    assert np.isnan(found.y[1]).all() and np.isnan(found.dydx[1]).all()


def test_another_exception_is_raised_with_the_point_in_its_notes() -> None:
    def f(x: np.ndarray) -> float:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        truth(f).evaluate([[1.5, 2.0]])
    notes = " ".join(caught.value.__notes__)
    assert "x = [1.5, 2.0]" in notes and "failures=(ZeroDivisionError,)" in notes


def test_wrong_shapes_are_errors_even_if_every_exception_is_a_failure() -> None:
    with pytest.raises(ShapeError, match="must have shape"):
        truth(lambda x: [1.0, 2.0], failures=(Exception,)).evaluate([[1.0, 2.0]])


@pytest.mark.parametrize(
    ("outputs", "returned", "message"),
    [
        (V1, [1.0, 2.0], r"`f\(x\)` must have shape \(m,\) = \(1,\), got \(2,\)"),
        (V2, 1.0, r"`f\(x\)` must have shape \(m,\) = \(2,\), got \(\)"),
        (V1, [[1.0]], r"`f\(x\)` must have shape \(m,\) = \(1,\), got \(1, 1\)"),
        (V1, (1.0, [1.0]), r"`dydx of f\(x\)` must have shape \(m, d\) = \(1, 2\), got \(1,\)"),
        (V1, (1.0, [[1.0], [2.0]]), r"got \(2, 1\). If it is \(d, m\), return `dydx.T`"),
        (V2, (1.0, 2.0), r"`f\(x\)` must have shape \(m,\) = \(2,\), got \(\)"),
        (V2, ([1.0, 2.0], [1.0, 2.0]), "For values alone return an array, not a tuple of two"),
    ],
)
def test_other_shapes_are_explained(outputs: Variable, returned: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        truth(lambda x: returned, outputs=outputs).evaluate([[1.0, 2.0]])


def test_results_other_than_numbers_are_explained() -> None:
    with pytest.raises(InputError, match=r"`f\(x\)` must hold real numbers"):
        truth(lambda x: "three").evaluate([[1.0, 2.0]])


def test_the_function_may_keep_and_change_its_arrays() -> None:
    buffer = np.zeros(1)

    def f(x: np.ndarray) -> np.ndarray:
        buffer[0] = x[0]
        x[...] = 7.0
        return buffer

    found = truth(f).evaluate([[1.0, 0.0], [2.0, 0.0]])
    assert found.y[:, 0].tolist() == [1.0, 2.0] and found.x[:, 0].tolist() == [1.0, 2.0]


def test_seconds_are_of_each_point() -> None:
    assert (truth(lambda x: float(np.linalg.norm(np.ones((200, 200))))).evaluate(np.zeros((2, 2))).seconds > 0.0).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"f": 3.0}, r"`f` must be a function of a point \(d,\), got 3.0"),
        ({"inputs": ["u"]}, "`inputs` must be a sequence of Variable objects"),
        ({"outputs": []}, "`outputs` must be a sequence of Variable objects"),
        ({"inputs": [V1, V1], "outputs": [U2]}, "`inputs` must have different names"),
        ({"outputs": [Variable("u")]}, r"`outputs` must have other names than `inputs`, got \['u'\]"),
        ({"failures": ["Burst"]}, "`failures` must be a sequence of exception classes, got 'Burst'"),
        ({"failures": [KeyboardInterrupt]}, "`failures` must be a sequence of exception classes"),
    ],
)
def test_wrong_fields_are_explained(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FunctionTruth(**{"f": lambda x: 0.0, "inputs": [U2], "outputs": [V1], **fields})


def test_one_exception_class_may_stand_alone() -> None:
    def f(x: np.ndarray) -> float:
        raise Burst("burst")

    assert not truth(f, failures=Burst).evaluate([[1.0, 2.0]]).ok.any()
