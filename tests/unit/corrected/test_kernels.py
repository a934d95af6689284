"""Kernels: value at coincidence, derivatives, smoothness."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.corrected.kernels import RADIAL

RNG = np.random.default_rng(0)


def k_of(name: str, a: np.ndarray) -> np.ndarray:
    return RADIAL[name]((a**2).sum(axis=-1)).k


@pytest.mark.parametrize("name", RADIAL)
def test_kernel_is_one_where_points_coincide_and_decays(name: str) -> None:
    r = np.linspace(0.0, 4.0, 50)
    k = RADIAL[name](r**2).k
    assert k[0] == 1.0
    assert (np.diff(k) < 0.0).all()
    assert k[-1] < 0.02


@pytest.mark.parametrize("name", RADIAL)
def test_u_and_h_give_the_first_and_second_derivatives(name: str) -> None:
    for a in RNG.normal(size=(5, 3)):
        k, u, h = RADIAL[name]((a**2).sum())
        first = u * k * a
        second = u * k * (np.eye(3) - h * np.outer(a, a))
        step = 1e-30j * np.eye(3)
        np.testing.assert_allclose(-k_of(name, a + step).imag / 1e-30, first, rtol=1e-12)
        ends = [[-k_of(name, a + side + step).imag / 1e-30 for side in (e, -e)] for e in 1e-5 * np.eye(3)]
        numeric = [(up - down) / 2e-5 for up, down in ends]
        np.testing.assert_allclose(second, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "at_one"),
    [
        ("squared exponential", np.exp(-0.5)),
        ("Matern 3/2", (1.0 + 3**0.5) * np.exp(-(3**0.5))),
        ("Matern 5/2", (1.0 + 5**0.5 + 5.0 / 3.0) * np.exp(-(5**0.5))),
    ],
)
def test_values_at_one_length_are_those_of_rasmussen_and_williams(name: str, at_one: float) -> None:
    assert RADIAL[name](np.ones(1)).k[0] == pytest.approx(at_one, rel=1e-14)


@pytest.mark.parametrize("name", RADIAL)
def test_second_derivative_is_finite_where_points_coincide(name: str) -> None:
    k, u, h = RADIAL[name](np.zeros(1))
    assert np.isfinite(u * k).all()
    assert np.isfinite(h).all()
