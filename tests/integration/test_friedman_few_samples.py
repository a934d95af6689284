"""Friedman's function from few samples: figures of the script, its data and its peer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scripts.shared.benchmark_problems import PROBLEMS
from scripts.shared.gaussian_process import gaussian_process
from scripts.surrogates.friedman_few_samples import Case

Smoke = Callable[[str], Any]


def test_script_writes_its_figures(smoke: Smoke) -> None:
    result = smoke("surrogates.friedman_few_samples").result
    assert set(result["cases"]) == {"30", "30, noise 0.2", "10 with partials"}
    for case in result["cases"].values():
        assert ("GP" in case) != case["partials"]
        for errors in (case[name] for name in ("gradopt", "GP") if name in case):
            assert len(errors["all"]) == 2 and errors["seconds"]["median"] > 0.0
            assert 0.0 < errors["median"] == pytest.approx(np.median(errors["all"]))
            assert errors["mean"] == pytest.approx(np.mean(errors["all"])) and errors["largest"] == max(errors["all"])
            assert errors["largest"] < 2.0 * case["spread"], "worse than any guess"
        if case["target"]:
            assert case["within"]["largest"] == (case["gradopt"]["largest"] <= case["target"])


def test_draw_adds_noise_to_values_and_never_to_partials() -> None:
    problem, spread = PROBLEMS["friedman_1"], 5.0
    noisy = Case(400, noise=0.2, partials=True).draw(3, spread)
    y, dydx = problem.evaluate(noisy.x)
    assert 0.9 < (noisy.y - y).std() < 1.1
    np.testing.assert_array_equal(noisy.partials, dydx)
    np.testing.assert_array_equal(Case(400).draw(3, spread).y, y)
    assert not Case(400).draw(3, spread).known.any()
    assert not np.allclose(Case(400).draw(4, spread).x, noisy.x)


def test_gp_learns_noise_and_its_absence() -> None:
    data = Case(60).draw(0, 5.0)
    np.testing.assert_allclose(gaussian_process(data, 0)[0](data.x), data.y, atol=0.2)
    noisy = Case(60, noise=0.2).draw(0, 5.0)
    assert np.abs(gaussian_process(noisy, 0)[0](noisy.x) - noisy.y).max() > 0.5, "it goes through the noise"
