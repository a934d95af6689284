"""Where curves reach a level: break-even noise and samples needed, from curves with known results."""

import numpy as np
import pytest

from scripts.jenn.curves import first_reach, samples_needed
from scripts.jenn.noise_break_even import break_even
from scripts.shared.statistics import cell, over_seeds, r2, worst_cell


def test_first_reach_is_linear_between_points_and_takes_the_first_crossing() -> None:
    assert first_reach([0.0, 2.0, 4.0, 6.0], [0.0, 1.0, -1.0, 3.0], 0.5) == pytest.approx(1.0)
    assert first_reach([0.0, 2.0, 4.0, 6.0], [0.0, 1.0, -1.0, 3.0], 2.0) == pytest.approx(5.5)


def test_first_reach_at_the_ends() -> None:
    assert first_reach([1.0, 2.0], [5.0, 9.0], 5.0) == 1.0  # from the start
    assert first_reach([1.0, 2.0], [5.0, 9.0], 9.0) == 2.0
    assert first_reach([1.0, 2.0], [5.0, 9.0], 9.1) is None


def test_samples_needed_of_a_power_law_are_exact() -> None:
    curve = {n: 1.0 - 30.0 / n**1.5 for n in (100, 1000, 10_000)}
    assert samples_needed(curve, 0.99) == pytest.approx(3000.0 ** (2.0 / 3.0))
    assert samples_needed(curve, 0.9) == pytest.approx(100.0), "the smallest is already enough"
    assert samples_needed(curve, 0.99999) is None, "none is enough"


def test_break_even_is_where_noisy_partials_are_as_good_as_none() -> None:
    levels = (0.0, 0.1, 0.2)
    r2s = [1.0 - 10.0**power for power in (-6.0, -4.0, -2.0)]
    assert break_even(levels, r2s, 1.0 - 1e-3) == pytest.approx(0.15)
    assert break_even(levels, r2s, 0.5) is None
    assert break_even(levels, r2s, 1.0 - 1e-7) == 0.0, "partials hurt without noise already"


def test_r2_of_the_truth_is_1_and_of_its_mean_0() -> None:
    truth = np.array([[1.0], [2.0], [6.0]])
    assert r2(truth, truth) == 1.0
    assert r2(truth, np.full_like(truth, 3.0)) == pytest.approx(0.0)
    assert r2(truth, np.array([[1.0], [2.0], [3.0]])) == pytest.approx(1.0 - 9.0 / 14.0)


def test_over_seeds_has_middle_and_ends() -> None:
    found = over_seeds([3.0, 1.0, 5.0])
    assert found == {"median": 3.0, "mean": 3.0, "least": 1.0, "largest": 5.0, "all": [3.0, 1.0, 5.0]}
    assert cell(found) == "3 (1 to 5)" and worst_cell(found) == "3.00 (5.00)"
