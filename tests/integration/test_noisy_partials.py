"""Noisy, wrong and missing partials: figures of the script, its data, and fits with noisy partials on one problem."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradopt import JENN, MLP
from gradopt.solvers import LevenbergMarquardt
from scripts.shared.benchmark_problems import PROBLEMS, with_noise
from scripts.shared.statistics import rmse
from scripts.surrogates.noisy_partials import KINDS, spoiled

Smoke = Callable[[str], Any]


@pytest.mark.parametrize("kind", KINDS)
def test_spoiling_changes_just_what_it_says(kind: str) -> None:
    data = PROBLEMS["friedman_1"].sample(20, 0)
    bad, entries = spoiled(data, kind, 1)
    changed = {(int(i), int(k), int(j)) for i, k, j in np.argwhere(bad.partials != data.partials)}
    assert changed == entries and len(entries) == (5 if kind == "row" else 1)


def test_noise_has_the_given_level() -> None:
    data = PROBLEMS["borehole"].sample(1000, 0)
    noise = (with_noise(data, 0.2, 0).partials - data.partials).std(axis=0)
    assert noise == pytest.approx(0.2 * np.sqrt((data.partials**2).mean(axis=0)), rel=0.1)


def test_noisy_partials_help_and_do_not_hurt() -> None:
    problem = PROBLEMS["borehole"]
    data, test = problem.sample(30, 0), problem.sample(500, 1)
    solver = LevenbergMarquardt(max_iterations=100)
    plain = rmse(MLP(starts=1, solver=solver).fit(data), test)
    assert rmse(JENN(starts=1, solver=solver).fit(with_noise(data, 0.1, 0)), test) < 0.7 * plain


def test_script_writes_its_figures(smoke: Smoke) -> None:
    result = smoke("surrogates.noisy_partials").result
    assert set(result["noise"]["branin"]["levels"]) == {"0.0", "0.5"}
    assert 0.0 <= result["wrong"]["branin"]["kinds"]["sign"]["named"] <= 1.0
    assert set(result["missing"]["branin"]["known"]) == {"random_half", "every_second", "first_alone", "last_alone"}
