"""TrustRegion: within the bounds, smaller after a failure, larger after a success."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.problem import Limits

LIMITS = Limits(np.array([0.0, -10.0]), np.array([1.0, 10.0]), np.zeros(0), np.zeros(0), np.array([1.0, 20.0]))


def test_box_is_in_units_of_the_ranges_and_within_the_bounds() -> None:
    lower, upper = TrustRegion(radius=0.2).box(np.array([0.1, 0.0]), LIMITS)
    np.testing.assert_allclose(lower, [0.0, -4.0])
    np.testing.assert_allclose(upper, [0.3, 4.0])


def test_length_is_that_of_the_smallest_box() -> None:
    assert TrustRegion().length(np.array([0.1, -4.0]), LIMITS) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (np.nan, 0.05),  # the truth failed
        (-1.0, 0.05),
        (0.1, 0.07),
        (0.5, 0.2),
        (0.8, 0.2),  # a good step well inside does not test the edge
        (0.9, 0.3),  # an excellent one counts three times
    ],
)
def test_a_step_changes_the_radius(ratio: float, expected: float) -> None:
    region = TrustRegion(radius=0.2, retreat=0.5, shrink=0.7, grow=1.5)
    assert region.after(ratio, 0.1).radius == pytest.approx(expected)


def test_a_good_step_to_the_edge_enlarges_it_up_to_the_largest() -> None:
    region = TrustRegion(radius=0.2, grow=1.5, largest=0.4)
    assert region.after(0.8, 0.2).radius == pytest.approx(0.3)
    assert region.after(0.8, 0.2).after(0.8, 0.3).radius == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("ratio", "factor"), [(0.899, 1.5), (0.9, 3.0), (1.0, 3.0), (1.09, 3.0), (1.11, 1.5), (50.0, 1.5)]
)
def test_it_leaps_after_excellent_steps_alone(ratio: float, factor: float) -> None:
    region = TrustRegion(radius=0.1)
    assert region.after(ratio, 0.1).radius == pytest.approx(factor * 0.1)


def test_a_leap_is_in_multiples_of_the_step_and_ends_at_the_largest_radius() -> None:
    region = TrustRegion(radius=0.1, largest=0.2)
    assert region.after(1.0, 0.05).radius == pytest.approx(0.15)
    assert region.after(1.0, 0.03).radius == 0.1  # never smaller after a good step
    assert region.after(1.0, 0.1).radius == 0.2


def limits_of(lower: list[float], upper: list[float], width: list[float]) -> Limits:
    return Limits(np.array(lower), np.array(upper), np.zeros(0), np.zeros(0), np.array(width))


def test_between_bounds_a_run_may_grow_to_the_widest_range() -> None:
    assert TrustRegion().growing(LIMITS) == TrustRegion()
    wide = limits_of([0.0, -10.0], [1.0, 10.0], [1.0, 4.0])  # the second unit is a fifth of its range
    assert TrustRegion().growing(wide) == TrustRegion(largest=5.0)


@pytest.mark.parametrize("upper", [[1.0, np.inf], [np.inf, np.inf]])
def test_without_a_bound_its_growth_has_no_limit(upper: list[float]) -> None:
    region = TrustRegion().growing(limits_of([0.0, 0.0], upper, [1.0, 4.0]))
    assert region == TrustRegion(largest=region.largest)
    for _ in range(16):
        region = region.after(1.0, region.radius)
    assert region.radius == pytest.approx(0.2 * 3.0**16)
    lower, edge = region.box(np.array([0.5, 0.5]), limits_of([0.0, 0.0], upper, [1.0, 4.0]))
    assert lower.tolist() == [0.0, 0.0]
    assert (edge <= upper).all()
    assert edge[1] > 1e7


def test_a_larger_limit_of_the_caller_is_kept() -> None:
    free = limits_of([0.0, 0.0], [1.0, np.inf], [1.0, 4.0])
    assert TrustRegion(largest=1e9).growing(free).largest == 1e9


def test_a_tiny_step_does_not_collapse_it() -> None:
    region = TrustRegion(radius=0.2)
    assert region.after(0.0, 1e-9).radius >= 0.01
    assert region.after(-1.0, 1e-9).radius >= 0.01


def test_it_is_exhausted_below_the_smallest() -> None:
    assert TrustRegion(radius=1e-9, smallest=1e-8).exhausted
    assert not TrustRegion(radius=1e-7, smallest=1e-8).exhausted
