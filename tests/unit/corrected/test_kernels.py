"""Kernels: value at coincidence, derivatives, smoothness, covariances of values and partials."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.corrected.kernels import KERNELS, RADIAL

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


# ---- covariances and predictions of every kernel ----

LENGTH = 0.7
LENGTHS = np.array([LENGTH, LENGTH])  # of two outputs
POINTS = np.random.default_rng(1).uniform(-1.0, 1.0, (4, 3))


def covariance(name: str, points: np.ndarray, length: float) -> np.ndarray:
    """The whole matrix, of which kernels set the lower triangle."""
    matrix = np.tril(KERNELS[name].covariance(points, length))
    return matrix + np.tril(matrix, -1).T


def value_of(name: str, apart: np.ndarray) -> np.ndarray:
    """Kernel at differences (k, 3) of points, by its definition alone; real or complex."""
    a = apart / LENGTH
    if name != "additive":
        return k_of(name, a)
    each = np.exp(-0.5 * a**2)
    pairs = each[:, 0] * each[:, 1] + each[:, 0] * each[:, 2] + each[:, 1] * each[:, 2]
    return np.asarray((each.sum(axis=1) + pairs) / 6.0)


def first_of(name: str, apart: np.ndarray) -> np.ndarray:
    """Derivatives (k, 3) with respect to the first point, by complex step."""
    steps = 1e-30j * np.eye(3)
    return np.stack([value_of(name, apart + step).imag / 1e-30 for step in steps], axis=1)


def second_of(name: str, apart: np.ndarray) -> np.ndarray:
    """Derivatives (k, 3, 3) with respect to both points: central differences of complex steps."""
    steps = 1e-5 * np.eye(3)
    ends = [first_of(name, apart - step) - first_of(name, apart + step) for step in steps]
    return np.stack(ends, axis=-1) / 2e-5


@pytest.mark.parametrize("name", KERNELS)
def test_covariances_are_finite_differences_of_the_kernel_in_both_points(name: str) -> None:
    """Partials are those times the length, point by point after the values."""
    n, d = POINTS.shape
    matrix = covariance(name, POINTS, LENGTH)
    apart = (POINTS[:, None] - POINTS).reshape(-1, d)
    np.testing.assert_allclose(matrix[:n, :n], value_of(name, apart).reshape(n, n), rtol=1e-12)
    other = ~np.eye(n, dtype=bool)  # a Matern kernel has no complex step where points coincide
    across = matrix[n:, :n].reshape(n, d, n).transpose(0, 2, 1)
    first = LENGTH * first_of(name, apart).reshape(n, n, d)
    np.testing.assert_allclose(across[other], first[other], rtol=1e-10, atol=1e-14)
    assert not across[~other].any()
    both = matrix[n:, n:].reshape(n, d, n, d).transpose(0, 2, 1, 3)
    second = LENGTH**2 * second_of(name, apart).reshape(n, n, d, d)
    np.testing.assert_allclose(both[other], second[other], rtol=1e-6, atol=1e-8)
    assert np.linalg.eigvalsh(matrix).min() > 0.0


def test_covariances_of_additive_partials_at_one_point_are_those_of_the_definition() -> None:
    n, d = POINTS.shape
    both = covariance("additive", POINTS, LENGTH)[n:, n:].reshape(n, d, n, d)
    second = LENGTH**2 * second_of("additive", np.zeros((1, d)))[0]
    for point in range(n):
        np.testing.assert_allclose(both[point, :, point], second, atol=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_predictions_are_sums_of_the_kernel_and_of_its_derivatives(name: str) -> None:
    rng = np.random.default_rng(2)
    heights, slopes = rng.normal(size=(4, 2)), rng.normal(size=(4, 2, 3))
    z = rng.uniform(-1.0, 1.0, (5, 3))
    apart = z[:, None] - POINTS
    values, partials = KERNELS[name].predict(apart, LENGTHS, heights, slopes)
    kernels = value_of(name, apart.reshape(-1, 3)).reshape(5, 4)
    inclined = -first_of(name, apart.reshape(-1, 3)).reshape(5, 4, 3)  # with respect to the points
    expected = kernels @ heights + np.einsum("knd,nmd->km", inclined, slopes)
    np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-12)
    for column in range(3):
        step = 1e-6 * np.eye(3)[column]
        ends = [KERNELS[name].predict(apart + side, LENGTHS, heights, slopes)[0] for side in (step, -step)]
        np.testing.assert_allclose(partials[:, :, column], (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", KERNELS)
def test_outputs_with_other_lengths_are_predicted_as_if_they_were_alone(name: str) -> None:
    rng = np.random.default_rng(4)
    heights, slopes = rng.normal(size=(4, 3)), rng.normal(size=(4, 3, 3))
    apart, lengths = rng.uniform(-1.0, 1.0, (5, 1, 3)) - POINTS, np.array([0.7, 0.4, 0.7])
    values, partials = KERNELS[name].predict(apart, lengths, heights, slopes)
    for m in range(3):
        own = KERNELS[name].predict(apart, lengths[m : m + 1], heights[:, [m]], slopes[:, [m]])
        np.testing.assert_allclose(values[:, [m]], own[0], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(partials[:, [m]], own[1], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", KERNELS)
def test_a_complex_step_passes_through_predictions(name: str) -> None:
    rng = np.random.default_rng(3)
    heights, slopes = rng.normal(size=(4, 2)), rng.normal(size=(4, 2, 3))
    apart = rng.uniform(-1.0, 1.0, (5, 1, 3)) - POINTS
    _, partials = KERNELS[name].predict(apart, LENGTHS, heights, slopes)
    for column in range(3):
        values, _ = KERNELS[name].predict(apart + 1e-30j * np.eye(3)[column], LENGTHS, heights, slopes)
        np.testing.assert_allclose(values.imag / 1e-30, partials[:, :, column], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("d", [2, 5])
def test_the_additive_kernel_is_one_where_points_coincide_and_never_decays_along_one_variable(d: int) -> None:
    points = np.vstack([np.zeros(d), 50.0 * np.eye(d)[:1], np.full((1, d), 50.0)])
    k = covariance("additive", points, 1.0)[:3, :3]
    np.testing.assert_allclose(k.diagonal(), 1.0)
    assert k[0, 1] == pytest.approx((d - 1.0) * d / (d * (d + 1.0)))  # all but the terms of that variable
    assert k[0, 2] == 0.0
