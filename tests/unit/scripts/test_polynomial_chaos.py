"""Polynomial chaos as a peer: exact on polynomials, with partials, on any box; sparse, and good from few values."""

from __future__ import annotations

import numpy as np
import pytest

from cases.learning import PROBLEMS as LEARNING
from gradopt import Dataset, Variable
from gradopt.sampling import latin_hypercube
from scripts.gradinn.polynomial_chaos import fit_chaos
from scripts.shared.benchmark_problems import PROBLEMS

BOX = (Variable("a", lower=-2.0, upper=3.0), Variable("b", (2,), lower=[50.0, 0.0], upper=[70.0, 0.1]))


def cubic(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two polynomials of degree 3 and a constant (n, 3), with partials (n, 3, 3)."""
    a, b, c = x[:, 0], (x[:, 1] - 60.0) / 10.0, 20.0 * x[:, 2] - 1.0
    zero, one = np.zeros_like(a), np.ones_like(a)
    values = [1.0 + a**3 - 2.0 * a * b * c + c**2, b**2 * c - a, 4.0 * one]
    by_a = [3.0 * a**2 - 2.0 * b * c, -one, zero]
    by_b = [-0.2 * a * c, 0.2 * b * c, zero]
    by_c = [20.0 * (2.0 * c - 2.0 * a * b), 20.0 * b**2, zero]
    return np.stack(values, axis=1), np.transpose([by_a, by_b, by_c])


def test_cubic_is_recovered_with_its_partials() -> None:
    x = latin_hypercube(BOX, 40, seed=1)
    values, partials = fit_chaos(Dataset(x, cubic(x)[0], inputs=BOX), seed=0)
    at = latin_hypercube(BOX, 25, seed=2)
    assert partials(at).shape == (25, 3, 3)
    np.testing.assert_allclose(values(at), cubic(at)[0], atol=1e-8)
    np.testing.assert_allclose(partials(at), cubic(at)[1], atol=1e-8)


def test_sine_is_learned_with_its_slope() -> None:
    sine = PROBLEMS["sine"]
    values, partials = fit_chaos(sine.sample(12, seed=3), seed=0)
    x = np.linspace(0.0, 2.0 * np.pi, 50)[:, None]
    y, dydx = sine.evaluate(x)
    assert np.abs(values(x) - y).max() < 0.02  # the mean is 1 away
    assert np.abs(partials(x) - dydx).max() < 0.1


def test_partials_are_those_of_the_values() -> None:
    branin = PROBLEMS["branin"]
    values, partials = fit_chaos(branin.sample(40, seed=5), seed=0)
    x = branin.sample(9, seed=6).x
    steps = 1e-5 * np.diag(np.array(branin.upper) - np.array(branin.lower))
    columns = [(values(x + h) - values(x - h)) / (2.0 * h.sum()) for h in steps]
    exact = partials(x)
    np.testing.assert_allclose(np.stack(columns, axis=2), exact, atol=1e-7 * np.abs(exact).max())


def test_choice_of_terms_lets_more_candidates_than_samples_help() -> None:
    friedman = LEARNING["friedman"]
    x = friedman.test_points()
    y = friedman.evaluate(x)[0]
    data = friedman.draw(100, seed=0)
    few, many = (np.std(fit_chaos(data, 0, candidates)[0](x) - y) for candidates in (1, 3))
    assert many < 0.2 < few < 0.6  # all 56 terms of degree 3: 0.53; the spread of the values: 4.8


def test_noise_is_not_followed() -> None:
    friedman = LEARNING["friedman"]
    x = friedman.test_points()
    values, _ = fit_chaos(friedman.draw(200, seed=0, noise=0.2), seed=0)
    assert np.std(values(x) - friedman.evaluate(x)[0]) < 0.2 * friedman.spread[0]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_next_to_no_samples_give_the_mean_or_little_more(n: int) -> None:
    data = LEARNING["stokes"].draw(n, seed=0)
    values, partials = fit_chaos(data, seed=0)
    x = LEARNING["stokes"].test_points(4)
    assert values(x).shape == (4, 3) and partials(x).shape == (4, 3, 2)
    assert np.isfinite(values(x)).all()
    np.testing.assert_allclose(values(data.x).mean(axis=0), data.y.mean(axis=0), atol=1e-9)
