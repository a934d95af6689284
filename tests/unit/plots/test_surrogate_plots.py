"""Plots of surrogates show values and known partials, and draw whatever data there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from gradopt import Dataset, Variable
from gradopt.errors import InputError
from gradopt.plots import plot_cross_validation, plot_optimizer_history, plot_parity
from gradopt.surrogates.diagnostics.cross_validation import CrossValidation


@dataclass(frozen=True)
class Predicting:
    """A surrogate with these values and partials at the samples."""

    y: np.ndarray
    dydx: np.ndarray

    def linearize(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.y, self.dydx


def perfect(m: int = 2) -> tuple[Dataset, Predicting]:
    """Samples of which a fifth of the partials is not known, and a surrogate without an error."""
    rng = np.random.default_rng(0)
    dydx = rng.normal(size=(30, m, 3))
    known = np.where(rng.random(dydx.shape) < 0.2, np.nan, dydx)
    outputs = [Variable(f"f{k}", units="N") for k in range(m)]
    data = Dataset(rng.normal(size=(30, 3)), rng.normal(size=(30, m)), known, outputs=outputs)
    return data, Predicting(data.y, dydx)


def parity(data: Dataset, surrogate: Predicting) -> Figure:
    return plot_parity(surrogate, data, title="a title")


def cross_validation(data: Dataset, surrogate: Predicting) -> Figure:
    return plot_cross_validation(CrossValidation(data, surrogate.y, surrogate.dydx, np.arange(data.n)), title="a title")


Pixels = Callable[[Figure], bytes]
Plot = Callable[[Dataset, Predicting], Figure]
PLOTS = pytest.mark.parametrize("plot", [parity, cross_validation])


@PLOTS
def test_wrong_values_and_wrong_partials_both_show(plot: Plot, pixels: Pixels) -> None:
    data, good = perfect(m=1)
    drawn = pixels(plot(data, good))
    for bad in (replace(good, y=-good.y), replace(good, dydx=-good.dydx)):
        assert pixels(plot(data, bad)) != drawn
    assert pixels(plot(data, good)) == drawn


@PLOTS
def test_partials_that_are_not_known_do_not_show(plot: Plot, pixels: Pixels) -> None:
    data, good = perfect()
    other = replace(good, dydx=np.where(data.known, good.dydx, 99.0))
    assert pixels(plot(data, good)) == pixels(plot(data, other))


@PLOTS
def test_without_partials_the_values_stand_alone(plot: Plot) -> None:
    data, good = perfect()
    assert len(plot(data, good).axes) == 4
    assert len(plot(replace(data, dydx=None), good).axes) == 2


@PLOTS
@pytest.mark.parametrize(("off", "n"), [(0.0, 4), (1.0, 1)])
def test_truth_that_does_not_vary_or_is_partly_not_known_is_drawn(
    plot: Plot, off: float, n: int, pixels: Pixels
) -> None:
    partials = np.full((n, 2, 1), 2.0)
    partials[:, 1] = np.nan
    data = Dataset(np.ones((n, 1)), np.full((n, 2), 3.0), partials)
    pixels(plot(data, Predicting(data.y + off, np.full((n, 2, 1), off))))
    pixels(plot(data, Predicting(np.full((n, 2), np.nan), np.full((n, 2, 1), np.nan))))


def test_parity_says_the_error_of_each_output() -> None:
    y = np.array([[0.0], [2.0], [4.0]])
    data = Dataset(np.array([[0.0], [3.0], [6.0]]), y, np.array([[[1.0]], [[3.0]], [[5.0]]]))
    figure = plot_parity(Predicting(y + y.std(), data.partials), data)
    values, partials = (axis.get_title() for axis in figure.axes)
    assert values.endswith("RMSE / std = 1.0e+00")
    assert partials.endswith("per std of the input, RMSE / std = 0.0e+00")


def test_partials_are_drawn_per_standard_deviation_of_their_input() -> None:
    x = np.array([[0.0], [3.0], [6.0]])
    data = Dataset(x, x, np.array([[[1.0]], [[3.0]], [[5.0]]]))
    (dots,) = plot_parity(Predicting(x, data.partials), data).axes[1].collections
    np.testing.assert_allclose(np.asarray(dots.get_offsets())[:, 0], np.array([1.0, 3.0, 5.0]) * x.std())


def test_surrogates_of_one_output_each_are_drawn_as_one_of_all(pixels: Pixels) -> None:
    data, good = perfect()
    parts = [Predicting(good.y[:, k : k + 1], good.dydx[:, k : k + 1]) for k in range(2)]
    assert pixels(plot_parity(parts, data)) == pixels(plot_parity(good, data))


def test_a_surrogate_of_other_outputs_is_refused() -> None:
    data, good = perfect()
    with pytest.raises(InputError, match="^`surrogate` must have m = 2 outputs, as `data` has, got 4. Pass all "):
        plot_parity([good, good], data)


def test_figures_are_saved(tmp_path: Path) -> None:
    data, good = perfect()
    plot_parity(good, data, path=tmp_path / "parity.png")
    result = CrossValidation(data, good.y, good.dydx, np.arange(30))
    plot_cross_validation(result, path=tmp_path / "cross_validation.png")
    plot_optimizer_history({"f": np.ones((2, 1))}, {}, {"f": np.ones(1)}, path=tmp_path / "history.png")
    assert len(list(tmp_path.iterdir())) == 3


def test_optimizer_history_draws_values_bounds_and_truth(pixels: Pixels) -> None:
    steps = np.linspace(0.0, 1.0, 7)[:, None]
    figure = plot_optimizer_history(
        {"drag": 1.0 + steps, "lift": steps, "thickness": steps * np.arange(1, 12)},
        {"lift": ("equals", [0.5]), "thickness": ("lower", [0.1] * 11)},
        {"drag": np.array([2.1]), "lift": np.array([0.9]), "thickness": np.arange(11.0)},
        title="a title",
    )
    pixels(figure)
    assert [len(axis.lines) for axis in figure.axes] == [2, 3, 33]


@pytest.mark.parametrize("objective", [[1e3, 1.0, 1e-3], [5.0, 0.0, -1.0], [2.0, 2.0, 2.0], [3.0], [1e3, 1.0, np.nan]])
@pytest.mark.parametrize("true", [1.0, np.nan])
def test_any_optimizer_history_is_drawn(objective: list[float], true: float, pixels: Pixels) -> None:
    history = {"f": np.array(objective)[:, None]}
    pixels(plot_optimizer_history(history, {}, {"f": np.array([true])}))
