"""Resolution: read from values as coarse as they are, and no coarser where functions or points are round."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradopt.data.variables import Variable
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.resolution import ROUND_OFF, resolutions

POINTS = np.random.default_rng(0).uniform(-2.0, 2.0, (30, 2))
BOWL = 5.0 + ((POINTS - 0.3) ** 2).sum(axis=1)


def printed(digits: str) -> Callable[[float], float]:
    return lambda value: float(f"{value:{digits}}")


def of(values: np.ndarray, at: float | None = None) -> float:
    return float(resolutions(values[:, None], np.array([values[0] if at is None else at]))[0])


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (printed(".4g"), 1e-3),
        (printed(".6g"), 1e-5),
        (printed(".3f"), 1e-3),
        (printed(".8e"), 1e-8),
        (lambda value: float(np.floor(20.0 * value)), 1.0),
        (lambda value: float(np.floor(20.0 * value)) * np.pi, np.pi),
        (lambda value: round(8.0 * value) / 8.0, 0.125),
        (lambda value: printed(".5e")(value) * 0.0254 * np.pi, 1e-5 * 0.0254 * np.pi),
        (lambda value: float(np.float32(value)), 2.0**-21),
        (lambda value: float(np.float16(value)), 2.0**-8),
    ],
    ids="4 digits,6 digits,3 decimals,9 digits,count,count times factor,eighths,printed times factor,single,half".split(
        ","
    ),
)
def test_the_resolution_is_that_of_the_values(seen: Callable[[float], float], expected: float) -> None:
    found = of(np.array([seen(value) for value in BOWL]))
    assert 0.2 * expected < found < 2.1 * expected


def test_near_values_show_the_quantum_of_single_precision_times_a_factor() -> None:
    near = np.float32(5.0 + 1e-3 * (BOWL - 5.0)).astype(float) * 0.3048
    assert of(near) == pytest.approx(2.0**-21 * 0.3048)


def test_a_small_value_with_a_finer_last_digit_does_not_hide_the_quantum() -> None:
    printed = [26.7, 10.9, 234.0, 4.54, 1.09, 3.32, 18.7, 6.24e-4]
    assert of(1e7 * np.array(printed), 1e7 * 1.11) == pytest.approx(1e5)


def test_clean_doubles_have_round_off() -> None:
    assert of(BOWL) == pytest.approx(ROUND_OFF * BOWL[0])
    assert of(BOWL - 5.0) == pytest.approx(ROUND_OFF * (BOWL[0] - 5.0))


def test_each_output_has_its_own() -> None:
    found = resolutions(np.column_stack([BOWL, np.round(BOWL, 2), np.floor(BOWL)]), np.array([5.0, 5.0, 5.0]))
    np.testing.assert_allclose(found, [ROUND_OFF * 5.0, 1e-2, 1.0])


def test_the_coarser_of_significant_and_last_digit_counts() -> None:
    large_and_small = np.array([123.4, 0.1234, 5.678])
    assert of(large_and_small, 123.4) == pytest.approx(0.1)
    assert of(np.array([25.12, 0.12, 7.77, 3.14]), 0.12) == pytest.approx(0.01)


def test_a_value_of_zero_and_failed_values_do_no_harm() -> None:
    assert of(np.append(BOWL, [0.0, np.nan])) == pytest.approx(ROUND_OFF * BOWL[0])
    assert of(np.append(np.round(BOWL, 3), 0.0), 0.0) == pytest.approx(1e-3)
    assert of(np.zeros(3)) == 0.0
    assert 0.0 < of(BOWL - 5.0, 0.0) < 1e-15


@pytest.mark.parametrize("count", [3, 4, 6])
def test_chance_gives_no_common_quantum(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(500):
        values = rng.normal(size=count) * 10.0 ** rng.integers(-3, 4) + rng.integers(-3, 4)
        assert of(values) <= 1e-12 * np.abs(values).max()


CLEAN: dict[str, Callable[[np.ndarray], float]] = {
    "linear": lambda x: float(x[0] + 2.0 * x[1]),
    "of one input": lambda x: float(x[1]),
    "square at its optimum": lambda x: float(((x - np.array([0.5, 1.0])) ** 2).sum()),
    "square with an offset": lambda x: float(7.0 + ((x - 1.0) ** 2).sum()),
    "distance": lambda x: float(np.abs(x - np.array([0.5, 1.0])).sum()),
    "product": lambda x: float(x[0] * x[1]),
}


@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("step", [1e-4, 1e-2, 0.0625, 1.5e-8])
def test_round_functions_at_round_points_are_not_coarse(name: str, step: float) -> None:
    """The steps of finite differences are odd, so that the values beside a round point have all their digits."""
    x = np.array([0.5, 1.0])
    inputs = (Variable("x", (2,), lower=-2.0, upper=2.0),)
    y = np.array([CLEAN[name](x)])
    plan = FiniteDifferences(step).plan(x, y, np.full((1, 2), np.nan), inputs)
    beside = np.array([[CLEAN[name](point)] for point in plan.points])
    assert resolutions(beside, y)[0] <= 1e-13
