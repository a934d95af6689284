"""Designs of experiments within the bounds of the variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from gradopt.data.sampling import full_factorial, latin_hypercube, sobol
from gradopt.data.variables import Variable, column_bounds
from gradopt.errors import InputError

INPUTS = (Variable("a", lower=-1.0, upper=3.0), Variable("b", shape=(2,), lower=[10.0, 0.0], upper=[20.0, 1e-3]))
LOW, HIGH = column_bounds(INPUTS)

Sampler = Callable[[Sequence[Variable], int, int | np.random.Generator], np.ndarray]
random_design = pytest.mark.parametrize("sampler", [latin_hypercube, sobol])


@random_design
@pytest.mark.parametrize("n", [1, 2, 5, 16, 100])
def test_design_has_n_points_within_bounds(sampler: Sampler, n: int) -> None:
    points = sampler(INPUTS, n, 0)
    assert points.shape == (n, 3)
    assert (points >= LOW).all() and (points <= HIGH).all()


@random_design
def test_same_seed_gives_same_points(sampler: Sampler) -> None:
    np.testing.assert_array_equal(sampler(INPUTS, 7, 3), sampler(INPUTS, 7, 3))


@random_design
def test_different_seeds_give_different_points(sampler: Sampler) -> None:
    assert (sampler(INPUTS, 7, 3) != sampler(INPUTS, 7, 4)).all()


@random_design
def test_generator_stands_for_its_seed(sampler: Sampler) -> None:
    np.testing.assert_array_equal(sampler(INPUTS, 7, np.random.default_rng(3)), sampler(INPUTS, 7, 3))


@random_design
def test_generator_moves_on_between_designs(sampler: Sampler) -> None:
    generator = np.random.default_rng(3)
    assert (sampler(INPUTS, 7, generator) != sampler(INPUTS, 7, generator)).any()


@random_design
def test_global_random_state_is_neither_read_nor_moved(sampler: Sampler) -> None:
    before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    sampler(INPUTS, 7, 3)
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], before)  # noqa: NPY002


@pytest.mark.parametrize("n", [1, 7, 50])
def test_latin_hypercube_has_one_point_in_each_interval(n: int) -> None:
    cells = np.floor((latin_hypercube(INPUTS, n, 0) - LOW) / (HIGH - LOW) * n)
    np.testing.assert_array_equal(np.sort(cells, axis=0), np.tile(np.arange(n)[:, None], 3))


def test_latin_hypercube_columns_are_not_paired() -> None:
    order = np.argsort(latin_hypercube(INPUTS, 20, 0), axis=0)
    assert (order[:, 0] != order[:, 1]).any() and (order[:, 1] != order[:, 2]).any()


@pytest.mark.parametrize("n", [3, 10, 33])
def test_sobol_takes_any_number_without_warning_as_the_first_of_the_sequence(n: int) -> None:
    np.testing.assert_array_equal(sobol(INPUTS, n, 0), sobol(INPUTS, 64, 0)[:n])


def test_sobol_of_a_power_of_two_fills_every_quadrant_alike() -> None:
    upper = sobol(INPUTS[:1] + (Variable("c", lower=0.0, upper=1.0),), 64, 0) > [1.0, 0.5]
    np.testing.assert_array_equal(np.bincount(upper @ [2, 1]), [16, 16, 16, 16])


def test_two_levels_of_full_factorial_are_the_corners_last_column_fastest() -> None:
    corners = full_factorial(INPUTS[:1] + (Variable("c", lower=0.0, upper=1.0),), 2)
    np.testing.assert_array_equal(corners, [[-1.0, 0.0], [-1.0, 1.0], [3.0, 0.0], [3.0, 1.0]])


def test_full_factorial_takes_a_number_of_levels_for_each_column() -> None:
    points = full_factorial(INPUTS, [2, 3, 4])
    assert points.shape == (24, 3)
    assert [len(np.unique(column)) for column in points.T] == [2, 3, 4]
    np.testing.assert_array_equal(np.unique(points[:, 1]), [10.0, 15.0, 20.0])


def test_full_factorial_holds_every_combination_once() -> None:
    assert len(np.unique(full_factorial(INPUTS, 3), axis=0)) == 27


@pytest.mark.parametrize("levels", [1, 0, [2, 2], [2, 2, 1], [2, 2, 2, 2], []])
def test_full_factorial_rejects_levels(levels: int | list[int]) -> None:
    message = r"`levels` must be a whole number of at least 2, or 3 of them, got .*\. Two levels are the corners\."
    with pytest.raises(InputError, match=message):
        full_factorial(INPUTS, levels)


@random_design
@pytest.mark.parametrize("n", [0, -3])
def test_design_rejects_fewer_than_one_point(sampler: Sampler, n: int) -> None:
    message = (
        rf"`n` must be a whole number of at least 1, got {n}\. A good first design has 2 to 5 points for each input\."
    )
    with pytest.raises(InputError, match=message):
        sampler(INPUTS, n, 0)


@pytest.mark.parametrize("design", [latin_hypercube, sobol, lambda inputs, n, seed: full_factorial(inputs, n)])
@pytest.mark.parametrize("bounds", [{}, {"lower": 0.0}, {"upper": 1.0}, {"lower": 0.0, "upper": np.inf}])
def test_design_rejects_missing_bounds_by_name(design: Sampler, bounds: dict[str, float]) -> None:
    message = (
        r"`inputs` must have finite lower and upper bounds, got \{'free\[0\]': \(.*\), 'free\[1\]': \(.*\)\}\. "
        r"Pass them: Variable\(\.\.\., lower=\.\.\., upper=\.\.\.\)\."
    )
    with pytest.raises(InputError, match=message):
        design([*INPUTS, Variable("free", shape=(2,), **bounds)], 4, 0)  # type: ignore[arg-type]
