"""Properties of the loop's parts on random data: first order at the iterate, invariant optimality, monotone regions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradopt.corrected.correction import CorrectionTerms, correct
from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.kkt import KKT, kkt

few = settings(derandomize=True, max_examples=40, deadline=None, database=None)
SEEDS = st.integers(0, 2**32 - 1)

# ---- correction ----


@dataclass(frozen=True, eq=False)
class Values:
    """Evaluation of a function."""

    y: np.ndarray
    partials: np.ndarray

    def dydx(self) -> np.ndarray:
        """Return the partials (n, m, d)."""
        return self.partials


@dataclass(frozen=True)
class Waves:
    """A surrogate that has nothing to do with the data: waves of random directions."""

    directions: np.ndarray
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    digest: str = "waves"

    @property
    def lower(self) -> np.ndarray:
        """Lower edge of the domain."""
        return np.full(self.directions.shape[1], -np.inf)

    @property
    def upper(self) -> np.ndarray:
        """Upper edge of the domain."""
        return -self.lower

    def evaluate(self, x: np.ndarray) -> Values:
        """Evaluate points (n, d): values between 0.2 and 0.8."""
        phase = x @ self.directions.T
        slopes = 0.3 * np.cos(phase)[:, :, None] * self.directions
        return Values(0.5 + 0.3 * np.sin(phase), slopes)


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """Random data with a row, steps, signs, terms, and with or without a surrogate."""
    rng = np.random.default_rng(draw(SEEDS))
    n, d, m = draw(st.integers(1, 12)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    transform = draw(st.sampled_from([None, "log", "logit"]))
    bounded = draw(st.booleans())
    edges: dict[str, Any] = {"lower": -1.0, "upper": 3.0} if bounded else {}
    inputs = (Variable("x", shape=(d,), **edges),)
    outputs = (Variable("y", shape=(m,), transform=transform),)
    size = 10.0 ** draw(st.integers(-3, 3))
    x = rng.uniform(-1.0, 3.0, (n, d))
    y = rng.uniform(0.1, 0.9, (n, m))  # within the domain of each transform
    dydx = size * rng.normal(size=(n, m, d))
    unknown = rng.random((n, m, d)) < draw(st.sampled_from([0.0, 0.0, 0.2]))
    dydx[unknown] = np.nan
    return {
        "surrogate": Waves(rng.normal(size=(m, d)), inputs, outputs) if draw(st.booleans()) else None,
        "data": Dataset(x, y, dydx, inputs, outputs),
        "center": draw(st.integers(0, n - 1)),
        "pairs": [(i, i + 1) for i in range(n - 1)],
        "signs": rng.choice([-1.0, 0.0, 1.0], m),
        "terms": CorrectionTerms(secant=draw(st.booleans()), kriging=draw(st.booleans())),
    }


@few
@given(problems())
def test_a_correction_is_first_order_at_the_iterate(problem: dict[str, Any]) -> None:
    data, row = problem["data"], problem["center"]
    found = correct(**problem).evaluate(data.x[[row]])
    np.testing.assert_allclose(found.y, data.y[[row]], rtol=1e-9)
    expected = data.partials[row]
    known = ~np.isnan(expected)
    near = 1e-7 * np.nanmax(np.abs(data.partials), initial=1.0)
    np.testing.assert_allclose(found.dydx()[0][known], expected[known], rtol=1e-7, atol=near)


@few
@given(problems(), SEEDS)
def test_partials_of_a_correction_are_the_derivatives_of_its_values(problem: dict[str, Any], seed: int) -> None:
    """Without kriging, whose weights grow beyond all digits where random values and partials contradict each other."""
    data, rng = problem["data"], np.random.default_rng(seed)
    terms = replace(problem["terms"], kriging=False)
    corrected = correct(None, data, problem["center"], problem["pairs"], problem["signs"], terms)
    steepest = np.nanmax(np.abs(data.partials), initial=1.0)
    x = data.x[[problem["center"]]] + 0.05 / steepest * rng.normal(size=(1, data.d))
    dydx = corrected.evaluate(x).dydx()
    for column in range(data.d):
        stepped = corrected.evaluate(x + 1e-30j * np.eye(data.d)[column]).y.imag / 1e-30
        np.testing.assert_allclose(stepped, dydx[:, :, column], rtol=1e-6, atol=1e-9 * max(1.0, np.abs(dydx).max()))


# ---- optimality conditions ----


@dataclass(frozen=True, eq=False)
class Posed:
    """Arguments of `kkt`."""

    u: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    gradient: np.ndarray
    c: np.ndarray
    c_lower: np.ndarray
    c_upper: np.ndarray
    jacobian: np.ndarray

    def measured(self) -> KKT:
        """Measure the optimality conditions."""
        return kkt(**vars(self))


@st.composite
def posed(draw: st.DrawFn, independent: bool = False) -> Posed:
    """A random point: some bounds reached, some near, some violated, some equalities, near an optimum or not.

    Independent: the gradients of all bounds that are not far off are linearly independent.
    """
    rng = np.random.default_rng(draw(SEEDS))
    n, m = draw(st.integers(1, 6)), draw(st.integers(0, 6))
    jacobian = rng.normal(size=(m, n))
    value = rng.normal(size=m + n)
    gaps = rng.choice([0.0, 1e-6, 1e-3, 0.3, -1e-3, np.inf], (2, m + n), p=[0.25, 0.1, 0.1, 0.25, 0.1, 0.2])
    equal = rng.random(m + n) < 0.15
    if independent:
        close = rng.permutation(m + n) < rng.integers(0, n + 1)  # random gradients: up to n of them are independent
        side = rng.integers(0, 2, m + n)
        gaps = np.where(np.abs(gaps) > 0.1, 1e-3, gaps)
        gaps[(np.arange(2)[:, None] != side) | ~close] = 3.0
        equal &= close
    low, high = value - gaps[0], value + gaps[1]
    low, high = np.where(equal, value, np.minimum(low, high)), np.where(equal, value, np.maximum(low, high))
    gradient = rng.normal(size=n)
    if draw(st.booleans()):  # balanced by what is near
        near = (np.abs(high - value) < 0.01) * 1.0 - (np.abs(value - low) < 0.01) * 1.0
        force = rng.uniform(0.1, 3.0, m + n) * np.where(equal, 1.0, near)
        gradient = -np.vstack([jacobian, np.eye(n)]).T @ force
    return Posed(value[m:], low[m:], high[m:], gradient, value[:m], low[:m], high[:m], jacobian)


def measures(found: KKT) -> np.ndarray:
    return np.array([found.feasibility, found.stationarity, found.complementarity])


def agree(first: KKT, second: KKT) -> None:
    assert first.certified == second.certified
    np.testing.assert_allclose(measures(first), measures(second), rtol=1e-6, atol=1e-9)


@few
@given(posed(), SEEDS)
def test_optimality_does_not_depend_on_the_order(point: Posed, seed: int) -> None:
    rng = np.random.default_rng(seed)
    us, cs = rng.permutation(len(point.u)), rng.permutation(len(point.c))
    parts = {name: getattr(point, name)[us] for name in ("u", "lower", "upper", "gradient")}
    parts |= {name: getattr(point, name)[cs] for name in ("c", "c_lower", "c_upper")}
    other = replace(point, jacobian=point.jacobian[np.ix_(cs, us)], **parts)
    first, second = point.measured(), other.measured()
    agree(first, second)
    np.testing.assert_allclose(np.abs(first.residual)[us], np.abs(second.residual), rtol=1e-6, atol=1e-9)


@few
@given(posed(), SEEDS)
def test_optimality_does_not_depend_on_the_sign_of_constraints(point: Posed, seed: int) -> None:
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], len(point.c))
    ends = np.array([point.c_lower, point.c_upper]) * sign
    parts = {"c": point.c * sign, "c_lower": ends.min(axis=0), "c_upper": ends.max(axis=0)}
    other = replace(point, jacobian=point.jacobian * sign[:, None], **parts)
    agree(point.measured(), other.measured())


@few
@given(posed(), SEEDS)
def test_optimality_does_not_depend_on_the_origin_of_design_variables(point: Posed, seed: int) -> None:
    """But for feasibility, which is relative to bounds above 1."""
    shift = np.random.default_rng(seed).integers(-4, 5, len(point.u)) * 0.25
    other = replace(point, u=point.u + shift, lower=point.lower + shift, upper=point.upper + shift)
    first, second = measures(point.measured()), measures(other.measured())
    np.testing.assert_allclose(first[1:], second[1:], rtol=1e-6, atol=1e-9)


@few
@given(posed(independent=True), SEEDS)
def test_stationarity_and_complementarity_do_not_depend_on_the_scale_of_constraints(point: Posed, seed: int) -> None:
    """Where gradients of active constraints depend on each other the gap itself counts, see `kkt`."""
    size = 10.0 ** np.random.default_rng(seed).uniform(-2.0, 2.0, len(point.c))
    parts = {name: getattr(point, name) * size for name in ("c", "c_lower", "c_upper")}
    other = replace(point, jacobian=point.jacobian * size[:, None], **parts)
    first, second = point.measured(), other.measured()
    np.testing.assert_allclose(measures(first)[1:], measures(second)[1:], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(second.residual, first.residual, rtol=1e-6, atol=1e-9)


# ---- trust region ----


@st.composite
def regions(draw: st.DrawFn) -> TrustRegion:
    """A trust region with a rule in order."""
    part, factor = st.floats(0.05, 0.95), st.floats(1.01, 3.0)
    retreat, shrink = sorted((draw(part), draw(part)))
    poor, good, excellent = sorted((draw(part), draw(part), draw(part)))
    grow, leap = sorted((draw(factor), draw(factor)))
    return TrustRegion(
        radius=draw(st.floats(1e-6, 1.0)),
        smallest=1e-8,
        largest=1.0,
        poor=poor,
        good=good,
        shrink=shrink,
        grow=grow,
        excellent=excellent,
        leap=leap,
        retreat=retreat,
    )


RATIOS = st.one_of(st.floats(-0.5, 1.5), st.floats(-1e6, 1e6), st.just(np.nan))


@few
@given(regions(), SEEDS)
def test_a_better_ratio_up_to_1_gives_no_smaller_region(region: TrustRegion, seed: int) -> None:
    rng = np.random.default_rng(seed)
    length = rng.uniform(0.0, 1.0) * region.radius  # no step is longer than the region
    ratios = [-1e6, -1e3, np.nan, *sorted(rng.uniform(-0.2, 1.0, 20)), 1.0]  # NaN: the truth failed
    radii = [region.after(ratio, length).radius for ratio in ratios]
    assert radii == sorted(radii)


@few
@given(regions(), RATIOS, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_longer_step_gives_no_smaller_region(region: TrustRegion, ratio: float, one: float, other: float) -> None:
    shorter, longer = sorted((one * region.radius, other * region.radius))
    assert region.after(ratio, shorter).radius <= region.after(ratio, longer).radius


@few
@given(regions(), RATIOS, st.floats(0.0, 1.0))
def test_the_radius_changes_within_its_rule(region: TrustRegion, ratio: float, part: float) -> None:
    after = region.after(ratio, part * region.radius)
    assert 0.0 < after.radius <= max(region.radius, region.largest)
    assert after.radius <= (region.leap if ratio >= region.excellent else region.grow) * region.radius
    if not ratio >= region.poor:
        assert after.radius < region.radius
    assert vars(after) == {**vars(region), "radius": after.radius}


@pytest.mark.parametrize("ratio", [np.nan, -1.0, 0.0, 0.1])
def test_poor_steps_shrink_the_default_region_to_its_smallest(ratio: float) -> None:
    region = TrustRegion()
    for _ in range(60):
        region = region.after(ratio, region.radius)
    assert region.exhausted
