"""Rosenbrock's function has the partials and the optimum that the case states; the case checks its numbers."""

from __future__ import annotations

import numpy as np
import pytest

from cases.rosenbrock.case import rosenbrock_case
from cases.rosenbrock.function import rosenbrock
from gradopt.data.sampling import sobol
from gradopt.errors import InputError

DIMENSIONS = [2, 3, 7]


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_partials_are_those_of_central_differences(dimension: int) -> None:
    for x in np.random.default_rng(dimension).uniform(-2.0, 2.0, (5, dimension)):
        steps = 1e-5 * np.eye(dimension)
        difference = [(rosenbrock(x + e)[0][0] - rosenbrock(x - e)[0][0]) / 2e-5 for e in steps]
        np.testing.assert_allclose(rosenbrock(x)[1], [difference], rtol=1e-7, atol=1e-5)


def test_value_is_that_of_the_formula() -> None:
    # 100 (3 - 4)^2 + (1 - 2)^2 + 100 (5 - 9)^2 + (1 - 3)^2
    assert rosenbrock(np.array([2.0, 3.0, 5.0]))[0] == [1705.0]


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_value_and_gradient_are_zero_at_the_stated_optimum(dimension: int) -> None:
    case = rosenbrock_case(dimension)
    assert case.optimum is not None
    f, slope = case.truth(case.optimum)
    assert f == [0.0]
    np.testing.assert_array_equal(slope, np.zeros((1, dimension)))


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_no_sobol_sample_beats_the_stated_optimum(dimension: int) -> None:
    case = rosenbrock_case(dimension)
    values = [case.truth(x)[0][0] for x in sobol(case.inputs, 4096, seed=dimension)]
    assert min(values) > 0.0


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_start_and_optimum_are_within_the_bounds(dimension: int) -> None:
    case = rosenbrock_case(dimension)
    assert case.optimum is not None
    for x in (case.start, case.optimum):
        assert x.shape == (dimension,)
        assert ((case.lower <= x) & (x <= case.upper)).all()


@pytest.mark.parametrize(
    ("dimension", "samples", "quick", "n"),
    [(2, None, False, 389), (3, None, False, 60), (2, 12, False, 12), (2, None, True, 20), (5, 3, True, 3)],
)
def test_design_has_the_given_number_of_samples(dimension: int, samples: int | None, quick: bool, n: int) -> None:
    case = rosenbrock_case(dimension, samples, quick)
    assert case.samples == n
    points = case.design(case.samples - 1, 0)
    assert points.shape == (n - 1, dimension)
    assert np.abs(points).max() <= 2.0
    np.testing.assert_array_equal(points, case.design(case.samples - 1, 0))
    assert (points != case.design(case.samples - 1, 1)).any()


def test_demonstration_in_two_dimensions_holds_the_grid_of_its_source() -> None:
    points = rosenbrock_case().design(388, 0)
    assert {(i / 4 - 2, j / 4 - 2) for i in range(17) for j in range(17)} <= {(a, b) for a, b in points.tolist()}


@pytest.mark.parametrize("dimension", [1, 0, -2])
def test_dimension_below_two_is_refused(dimension: int) -> None:
    with pytest.raises(InputError, match=rf"`dimension` must be at least 2, got {dimension}\. Rosenbrock's function"):
        rosenbrock_case(dimension)


@pytest.mark.parametrize("samples", [2, 0, -1])
def test_too_few_samples_are_refused(samples: int) -> None:
    with pytest.raises(InputError, match=rf"`samples` must be at least 3, got {samples}\. 20 for each variable"):
        rosenbrock_case(samples=samples)
