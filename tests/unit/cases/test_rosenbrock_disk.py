"""Rosenbrock's function in the disk: partials, the stated optimum by its KKT conditions, and the loop."""

from __future__ import annotations

import numpy as np

from cases.adaptive import run_adaptive
from cases.rosenbrock.disk import OPTIMUM, disk_case, rosenbrock_disk
from gradopt import EvaluationStore


def test_partials_are_those_of_central_differences() -> None:
    for x in np.random.default_rng(3).uniform(-2.0, 2.0, (5, 2)):
        steps = 1e-5 * np.eye(2)
        difference = [(rosenbrock_disk(x + e)[0] - rosenbrock_disk(x - e)[0]) / 2e-5 for e in steps]
        np.testing.assert_allclose(rosenbrock_disk(x)[1], np.transpose(difference), rtol=1e-7, atol=1e-5)


def test_gradients_balance_at_the_stated_optimum() -> None:
    y, slopes = rosenbrock_disk(OPTIMUM)
    assert abs(y[1] - 1.0) < 1e-11
    multipliers = -slopes[0] / slopes[1]
    np.testing.assert_allclose(multipliers, 0.12149656, rtol=1e-6)  # the same twice, and not negative


def test_no_point_of_the_disk_beats_the_stated_optimum() -> None:
    best = rosenbrock_disk(OPTIMUM)[0][0]
    radius, angle = np.meshgrid(np.linspace(0.0, 1.0, 60), np.linspace(0.0, 2.0 * np.pi, 360))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1, 2)
    assert min(rosenbrock_disk(point)[0][0] for point in points) > best


def test_loop_ends_certified_at_the_known_optimum() -> None:
    result = run_adaptive(disk_case(), 0, EvaluationStore(), lambda line: None)
    assert result.certificate.certified
    np.testing.assert_allclose(result.final.x, OPTIMUM, atol=1e-6)
    assert result.evaluations <= 30
    assert result.data["rosenbrock_disk"] is not None
