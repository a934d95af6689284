"""Predictive standard deviations grow where there are no data, have units, and survive a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gradopt
from gradopt import JENN, Dataset, Surrogate
from gradopt.errors import InputError
from gradopt.solvers import LBFGS, LevenbergMarquardt
from gradopt.surrogates import Polish
from gradopt.surrogates.fitted import container


def gap(scale: float = 1.0) -> Dataset:
    """A wave on [0, 1] without samples in the middle."""
    x = np.concatenate([np.linspace(0.0, 0.3, 5), np.linspace(0.7, 1.0, 5)])[:, None]
    return Dataset(x, scale * np.sin(6.0 * x), scale * 6.0 * np.cos(6.0 * x)[:, None])


QUICK = JENN((5,), solver=LevenbergMarquardt(max_iterations=30), starts=2)


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    """Fit the wave with the gap once."""
    return QUICK.fit(gap())


@pytest.mark.parametrize("weights", ["auto", "fixed"])
def test_std_grows_where_there_are_no_data(weights: str) -> None:
    found = replace(QUICK, weights=weights).fit(gap())
    between, middle = np.array([[0.1125], [0.8875]]), np.array([[0.5]])
    assert found.std(middle) > 3.0 * found.std(between).max()
    assert found.std_partials(middle) > 1.5 * found.std_partials(between).max()


def test_std_grows_where_there_are_no_data_also_with_another_solver() -> None:
    found = JENN((5,), solver=LBFGS(max_iterations=200), starts=1).fit(gap())
    assert found.std([[0.5]]) > 2.0 * found.std([[0.1125]])


def test_std_falls_by_samples_in_the_gap(surrogate: Surrogate) -> None:
    x = np.linspace(0.0, 1.0, 15)[:, None]
    data = Dataset(x, np.sin(6.0 * x), 6.0 * np.cos(6.0 * x)[:, None])
    refitted = surrogate.refit(data, QUICK.data_weights(data), None)
    assert refitted.std([[0.5]]) < 0.5 * surrogate.std([[0.5]])


def test_std_of_a_fit_in_single_precision_is_in_double() -> None:
    found = replace(QUICK, weights="fixed", dtype="float32").fit(gap())
    assert found.std([[0.5]]).dtype == np.float64 and found.std([[0.5]]) > 3.0 * found.std([[0.1125]])


def test_std_has_the_units_of_the_outputs(surrogate: Surrogate) -> None:
    x = np.linspace(0.0, 1.0, 7)[:, None]
    other = QUICK.fit(gap(1000.0))
    assert surrogate.std(x).shape == (7, 1) and surrogate.std_partials(x).shape == (7, 1, 1)
    np.testing.assert_allclose(other.std(x), 1000.0 * surrogate.std(x), rtol=1e-3)
    np.testing.assert_allclose(other.std_partials(x), 1000.0 * surrogate.std_partials(x), rtol=1e-3)


def test_std_of_partials_is_zero_for_inputs_held_fixed() -> None:
    data = gap()
    wider = Dataset(np.hstack([data.x, np.ones_like(data.x)]), data.y, np.concatenate([data.partials] * 2, axis=2))
    found = QUICK.fit(wider).std_partials([[0.5, 1.0]])
    assert found[0, 0, 0] > 0.0 and found[0, 0, 1] == 0.0


def test_magnified_weights_do_not_change_std(surrogate: Surrogate) -> None:
    polished = replace(surrogate, configuration=replace(QUICK, solver=LevenbergMarquardt(max_iterations=0))).polish(
        gap(), Polish(magnitude=1e6)
    )
    x = np.linspace(0.0, 1.0, 7)[:, None]
    np.testing.assert_allclose(polished.std(x), surrogate.std(x), rtol=1e-9)


def test_std_of_a_loaded_surrogate_is_the_same(surrogate: Surrogate, tmp_path: Path) -> None:
    x = np.linspace(0.0, 1.0, 7)[:, None]
    surrogate.save(tmp_path / "wave.gradopt")
    loaded = gradopt.load(tmp_path / "wave.gradopt")
    assert np.array_equal(loaded.std(x), surrogate.std(x))
    assert np.array_equal(loaded.std_partials(x), surrogate.std_partials(x))
    assert loaded.digest == surrogate.digest


def test_std_of_an_older_file_without_posterior_is_refused(surrogate: Surrogate, tmp_path: Path) -> None:
    path = tmp_path / "wave.gradopt"
    surrogate.save(path)
    header, arrays, _ = container.read(path)
    container.write(path, header, {name: array for name, array in arrays.items() if "posterior" not in name})
    loaded = gradopt.load(path)
    assert np.array_equal(loaded.predict([[0.5]]), surrogate.predict([[0.5]]))
    for method in (loaded.std, loaded.std_partials):
        with pytest.raises(
            InputError, match=r"have a posterior.*file is older.*`surrogate\.configuration\.fit\(data\)`"
        ):
            method([[0.5]])


def test_std_refuses_what_predict_refuses_and_complex_numbers(surrogate: Surrogate) -> None:
    for method in (surrogate.std, surrogate.std_partials):
        with pytest.raises(InputError, match="finite"):
            method([[np.nan]])
        with pytest.raises(InputError, match="lie near the domain"):
            method([[1e6]])
        with pytest.raises(InputError, match="real"):
            method([[0.5 + 1e-20j]])
