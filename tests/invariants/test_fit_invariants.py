"""Invariants of a fit: what has no effect on the fit, and what the fit does not change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gradopt import JENN, MLP, Dataset, Surrogate
from gradopt.solvers import LBFGS, Adam, LevenbergMarquardt
from gradopt.surrogates import Polish

LM = LevenbergMarquardt(max_iterations=15)
SOLVERS = pytest.mark.parametrize("solver", [LM, LBFGS(15), Adam(10, 8)], ids=["lm", "lbfgs", "adam"])
KINDS = pytest.mark.parametrize("kind", [JENN, MLP])
AT = np.random.default_rng(8).uniform(-1.0, 1.0, (6, 2))


def ripples(n: int = 16, seed: int = 0) -> Dataset:
    x = np.random.default_rng(seed).uniform(-1.5, 1.5, (n, 2))
    a, b = x.T
    y = np.stack([np.sin(2.0 * a) + b, a * b], axis=1)
    dydx = np.stack([np.stack([2.0 * np.cos(2.0 * a), np.ones(n)], axis=1), x[:, ::-1]], axis=1)
    return Dataset(x, y, dydx)


def fit(kind: type[JENN | MLP], data: Dataset, **settings: Any) -> Surrogate:
    return kind((4,), **{"solver": LM, "starts": 2, **settings}).fit(data)


def in_units(
    data: Dataset, x_unit: np.ndarray, y_unit: np.ndarray, x_zero: float = 0.0, y_zero: float = 0.0
) -> Dataset:
    partials = data.partials * y_unit[:, None] / x_unit
    return replace(data, x=data.x * x_unit + x_zero, y=data.y * y_unit + y_zero, dydx=partials)


@KINDS
@SOLVERS
@pytest.mark.parametrize("power", [-40, -3, 10])
def test_units_by_powers_of_two_change_nothing(kind: type[JENN | MLP], solver: Any, power: int) -> None:
    x_unit, y_unit = np.array([2.0**power, 2.0**3]), np.array([2.0, 2.0**-power])
    here = fit(kind, ripples(), solver=solver)
    there = fit(kind, in_units(ripples(), x_unit, y_unit), solver=solver)
    y, dydx = here.linearize(AT)
    there_y, there_dydx = there.linearize(AT * x_unit)
    assert np.array_equal(here.theta, there.theta)
    assert np.array_equal(there_y, y * y_unit)
    assert np.array_equal(there_dydx, dydx * y_unit[:, None] / x_unit)


@KINDS
def test_units_with_another_zero_change_nothing(kind: type[JENN | MLP]) -> None:
    x_unit, y_unit = np.array([1.8, 1e-3]), np.array([0.3048, 6894.76])
    here, there = fit(kind, ripples()), fit(kind, in_units(ripples(), x_unit, y_unit, 32.0, 5.0))
    y, dydx = here.linearize(AT)
    there_y, there_dydx = there.linearize(AT * x_unit + 32.0)
    np.testing.assert_allclose(there_y, y * y_unit + 5.0, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(there_dydx, dydx * y_unit[:, None] / x_unit, rtol=1e-4, atol=1e-4 * abs(dydx).max())


def test_polish_does_not_depend_on_units() -> None:
    unit = np.array([2.0**20, 2.0**-20])
    here, there = ripples(), in_units(ripples(), unit, unit)
    mine, theirs = fit(JENN, here).polish(here), fit(JENN, there).polish(there)
    assert np.array_equal(mine.theta, theirs.theta)


@KINDS
@pytest.mark.parametrize("solver", [LM, LBFGS(15)], ids=["lm", "lbfgs"])
def test_the_order_of_samples_does_not_matter(kind: type[JENN | MLP], solver: Any) -> None:
    data = ripples()
    shuffled = data.select(np.random.default_rng(4).permutation(data.n))
    found, expected = fit(kind, shuffled, solver=solver), fit(kind, data, solver=solver)
    np.testing.assert_allclose(found.predict(AT), expected.predict(AT), atol=1e-5)
    np.testing.assert_allclose(found.linearize(AT)[1], expected.linearize(AT)[1], atol=1e-4)


@KINDS
@SOLVERS
def test_fits_are_reproducible_by_seed(kind: type[JENN | MLP], solver: Any) -> None:
    first, second = (fit(kind, ripples(), solver=solver, seed=5) for _ in range(2))
    assert np.array_equal(first.theta, second.theta)


@KINDS
@SOLVERS
def test_another_seed_gives_another_fit(kind: type[JENN | MLP], solver: Any) -> None:
    first, second = (fit(kind, ripples(), solver=solver, seed=seed) for seed in (5, 6))
    assert abs(first.predict(AT) - second.predict(AT)).max() > 1e-6


def global_state() -> list[Any]:
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 (it is the global state that is watched)
    return [
        numpy_state[1].tolist(),
        numpy_state[2],
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
    ]


@KINDS
@SOLVERS
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fit_leaves_global_state_unchanged(kind: type[JENN | MLP], solver: Any, dtype: str, threads: int) -> None:
    found = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        before = global_state()
        surrogate = fit(kind, ripples(), solver=solver, dtype=dtype)
        surrogate.linearize(AT)
        assert global_state() == before
    finally:
        torch.set_num_threads(found)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_fit_that_fails_leaves_global_state_unchanged(error: type[BaseException]) -> None:
    def fail(progress: object) -> None:
        raise error

    found = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = global_state()
        with pytest.raises(error):
            JENN((3,)).fit(ripples(), callback=fail)
        assert global_state() == before
    finally:
        torch.set_num_threads(found)


def test_a_fit_does_not_depend_on_the_default_dtype() -> None:
    expected = fit(JENN, ripples())
    torch.set_default_dtype(torch.float32 if torch.get_default_dtype() is torch.float64 else torch.float64)
    try:
        found = fit(JENN, ripples())
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(found.linearize(AT)[1], expected.linearize(AT)[1])


@KINDS
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("solver", [LevenbergMarquardt(max_iterations=0), LBFGS(max_iterations=0)], ids=["lm", "lbfgs"])
def test_a_warm_start_of_no_iterations_on_new_data_moves_nothing(
    kind: type[JENN | MLP], dtype: str, solver: Any
) -> None:
    first = fit(kind, ripples(), dtype=dtype)
    new = in_units(ripples(9, 1), np.full(2, 3.0), np.full(2, 3.0))
    again = kind((4,), solver=solver, dtype=dtype).fit(new, warm_start=first)
    assert np.array_equal(again.linearize(AT)[1], first.linearize(AT)[1])


@KINDS
def test_a_warm_start_keeps_the_scaling(kind: type[JENN | MLP]) -> None:
    first = fit(kind, ripples())
    second = kind((4,), solver=LM).fit(ripples(9, 1), warm_start=first, callback=lambda progress: True)
    assert second.scaling is first.scaling


@pytest.mark.parametrize("polish", [Polish(), Polish(units="raw", width=10.0)], ids=str)
def test_polish_keeps_the_scaling(polish: Polish) -> None:
    first = fit(JENN, ripples())
    assert first.polish(ripples(9, 1), polish).scaling is first.scaling


@pytest.mark.parametrize("solver", [LM, LBFGS(15), Adam(10, 8)], ids=["lm", "lbfgs", "adam"])
def test_missing_partials_never_influence_a_fit(solver: Any) -> None:
    data = ripples()
    missing = np.random.default_rng(1).random(data.partials.shape) < 0.5
    marked = replace(data, dydx=np.where(missing, np.nan, data.partials))
    garbage = replace(data, dydx=np.where(missing, 1e6, data.partials))
    found = fit(JENN, marked, solver=solver)
    expected = fit(JENN, garbage, solver=solver, gamma=np.where(missing, 0.0, 1.0))
    assert np.array_equal(found.theta, expected.theta)
    assert found.fit_result.loss == expected.fit_result.loss


def test_known_partials_do_influence_a_fit() -> None:
    data = ripples()
    one_wrong = data.partials.copy()
    one_wrong[3, 1, 0] += 1.0
    assert not np.array_equal(fit(JENN, data).theta, fit(JENN, replace(data, dydx=one_wrong)).theta)


@pytest.mark.parametrize("column", [0, 1])
def test_partials_of_one_input_alone_are_fitted(column: int) -> None:
    data = ripples()
    known = np.where(np.arange(2) == column, data.partials, np.nan)
    surrogate = JENN((6,), solver=LevenbergMarquardt(max_iterations=150)).fit(replace(data, dydx=known))
    np.testing.assert_allclose(surrogate.linearize(data.x)[1][:, :, column], data.partials[:, :, column], atol=0.1)
    assert surrogate.fit_result.n_residuals == data.n * 2 * 2


@SOLVERS
def test_an_mlp_ignores_partials(solver: Any) -> None:
    with_partials, without = fit(MLP, ripples(), solver=solver), fit(MLP, replace(ripples(), dydx=None), solver=solver)
    assert np.array_equal(with_partials.theta, without.theta)
    assert np.array_equal(with_partials.linearize(AT)[1], without.linearize(AT)[1])


def test_an_mlp_of_a_constant_output_ignores_partials() -> None:
    flat = replace(ripples(), y=np.ones((16, 2)))
    assert np.array_equal(fit(MLP, flat).predict(AT), fit(MLP, replace(flat, dydx=None)).predict(AT))
