"""The coverage of std: figures of the script, and intervals are wide where there are no data."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt import JENN
from gradopt.solvers import LevenbergMarquardt
from scripts.shared.benchmark_problems import PROBLEMS
from scripts.surrogates.uncertainty_coverage import covered, draw, laplace_alone

Smoke = Callable[[str], Any]

FIGURES = ("values", "partials", "laplace_alone", "rank_correlation", "nrmse", "std", "networks")
SECONDS = ("fit_seconds", "posterior_seconds", "predict_seconds", "std_seconds")


def test_script_writes_its_figures(smoke: Smoke) -> None:
    result = smoke("surrogates.uncertainty_coverage").result
    for kind in ("JENN", "MLP"):
        found = result["coverage"][kind]
        for problem in ("sine", "branin"):
            numbers = [found["problems"][problem][figure] for figure in (*FIGURES, *SECONDS)]
            assert all(math.isfinite(number) for number in numbers)
            values = [of["values"] for of in found["problems"].values()]
            assert found["problems"][problem]["values"] == pytest.approx(
                np.mean(found["problems"][problem]["values_by_seed"])
            )
        assert found["pooled"]["values"] == pytest.approx(np.mean(values))
        assert found["within"]["values"] == sum(0.85 <= round(value, 3) <= 0.95 for value in values)
    assert set(result["gaps"]) == {"JENN", "MLP", "map"}


def test_intervals_are_wider_where_there_are_no_data(tmp_path: Path) -> None:
    settings = {"starts": 1, "solver": LevenbergMarquardt(max_iterations=60)}
    assert min(draw(tmp_path / "uncertainty.png", settings).values()) > 1.5


def test_covered_counts_errors_within_the_interval() -> None:
    assert covered(np.array([0.0, 1.6, -1.6, 1.7, -1.7]), np.ones(5)) == 0.6


def test_laplace_alone_is_the_best_network_not_widened() -> None:
    surrogate = JENN((4,), starts=2).fit(PROBLEMS["branin"].sample(6, 0))
    alone, x = laplace_alone(surrogate), np.array([[0.0, 5.0]])
    posterior = surrogate.posteriors[0]
    inflation = posterior.inflation[0, 0] * np.sqrt(1.0 + posterior.optimism)
    assert len(alone.networks) == 1 and alone.networks[0].share == 1.0
    one = alone.std(x) * inflation
    assert surrogate.posteriors[0].variances(alone.network, alone.theta, alone.scaling.scale_inputs(x)) * (
        1.0 + posterior.optimism
    ) == pytest.approx((one / alone.scaling.output_scale) ** 2)
