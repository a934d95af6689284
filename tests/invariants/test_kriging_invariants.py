"""Properties of gradient-enhanced kriging for any data: interpolation, exact derivatives, order of points."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradopt.corrected.kernels import KERNELS
from gradopt.corrected.kriging import TRENDS, KrigingConfiguration, krige
from gradopt.corrected.metric import METRICS

FEW = settings(max_examples=15, deadline=None, derandomize=True, database=None)
SHORT = [  # one length, short enough that the matrices have more than ten digits
    KrigingConfiguration(kernel=kernel, metric=metric, trend=trend, lengths=(0.3,), first=0, nuggets=(1e-13,))
    for kernel, metric, trend in product(KERNELS, METRICS, TRENDS)
]


def named(one: KrigingConfiguration) -> str:
    return f"{one.kernel}, {one.metric}, trend {one.trend}"


EVERY = pytest.mark.parametrize("configuration", SHORT, ids=named)
# The axes of a metric with equal eigenvalues are those of round-off, and an additive kernel is tied to the axes.
DETERMINED = pytest.mark.parametrize(
    "configuration", [one for one in SHORT if (one.kernel, one.metric) != ("additive", "gradients")], ids=named
)
NUMBERS = st.floats(-1.0, 1.0, width=32)
Data = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def data_sets(draw: st.DrawFn) -> Data:
    """Points (n, d) no nearer to each other than 0.3, any values (n, 2) and any partials (n, 2, d)."""
    d, n = draw(st.integers(1, 3)), draw(st.integers(2, 5))
    cells = draw(st.lists(st.tuples(*[st.integers(-2, 2)] * d), min_size=n, max_size=n, unique=True))
    shift = draw(arrays(float, (n, d), elements=NUMBERS))
    points = 0.5 * np.array(cells, dtype=float) + 0.1 * shift
    return points, draw(arrays(float, (n, 2), elements=NUMBERS)), draw(arrays(float, (n, 2, d), elements=NUMBERS))


@EVERY
@FEW
@given(data=data_sets())
def test_values_and_partials_are_interpolated_to_round_off(data: Data, configuration: KrigingConfiguration) -> None:
    points, values, partials = data
    found, slopes = krige(points, values, partials, configuration=configuration).evaluate(points)
    np.testing.assert_allclose(found, values, atol=1e-9)
    np.testing.assert_allclose(slopes, partials, atol=1e-8)


@EVERY
@FEW
@given(data=data_sets(), output=st.integers(0, 1), seed=st.integers(0, 99))
def test_known_partials_are_interpolated_where_others_are_unknown(
    data: Data, output: int, seed: int, configuration: KrigingConfiguration
) -> None:
    points, values, partials = data
    unknown = np.random.default_rng(seed).random(len(points)) < 0.5
    partials[unknown, output] = np.nan
    found, slopes = krige(points, values, partials, configuration=configuration).evaluate(points)
    np.testing.assert_allclose(found, values, atol=1e-9)
    np.testing.assert_allclose(slopes[~unknown], partials[~unknown], atol=1e-8)
    np.testing.assert_allclose(slopes[:, 1 - output], partials[:, 1 - output], atol=1e-8)


@EVERY
@FEW
@given(data=data_sets(), seed=st.integers(0, 99))
def test_partials_are_the_derivatives_of_the_values(data: Data, seed: int, configuration: KrigingConfiguration) -> None:
    points, values, partials = data
    kriging = krige(points, values, partials, configuration=configuration)
    z = np.random.default_rng(seed).uniform(-1.0, 1.0, (3, points.shape[1]))
    _, slopes = kriging.evaluate(z)
    for column, direction in enumerate(np.eye(points.shape[1])):
        numeric = kriging.evaluate(z + 1e-30j * direction)[0].imag / 1e-30
        np.testing.assert_allclose(slopes[:, :, column], numeric, rtol=1e-8, atol=1e-8)


@DETERMINED
@FEW
@given(data=data_sets(), seed=st.integers(0, 99))
def test_order_of_points_does_not_matter(data: Data, seed: int, configuration: KrigingConfiguration) -> None:
    points, values, partials = data
    rng = np.random.default_rng(seed)
    order, z = rng.permutation(len(points)), rng.uniform(-1.0, 1.0, (3, points.shape[1]))
    plain = krige(points, values, partials, configuration=configuration).evaluate(z)
    other = krige(points[order], values[order], partials[order], configuration=configuration).evaluate(z)
    for one, two in zip(plain, other, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-7)
