"""Plots of an optimization: they show their data, and draw whatever a run can leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from gradopt.errors import InputError
from gradopt.loop.state import Iteration
from gradopt.plots import Trace, plot_convergence, plot_prediction, plot_trust_region

Pixels = Callable[[Figure], bytes]
NAN = float("nan")


def iteration(number: int, objective: float, **changes: Any) -> Iteration:
    """An accepted candidate; its measures fall from one iteration to the next."""
    usual = Iteration(
        number=number,
        u=np.zeros(2),
        objective=objective,
        constraints=np.zeros(1),
        predicted_objective=0.9 * objective,
        predicted_constraints=np.zeros(1),
        ratio=0.8,
        accepted=True,
        restoration=False,
        radius=0.1 * 2.0**number,
        evaluations=number + 1,
        feasibility=0.1**number,
        stationarity=10.0 * 0.1**number,
        complementarity=0.0,
        fit="",
        failure="",
        seconds=0.1,
    )
    return replace(usual, **changes)


HISTORY = (
    iteration(0, 5.0, predicted_objective=NAN, ratio=NAN),
    iteration(1, 4.0),
    iteration(2, 4.5, accepted=False, ratio=-50.0),
    iteration(3, NAN, accepted=False, ratio=NAN, failure="no mesh"),
    iteration(4, 3.0),
)


@dataclass(frozen=True)
class Result:
    """As `OptimizeResult` and `AdaptiveDriver`."""

    history: Sequence[Iteration]


def trace(objective: list[float], **others: Any) -> Trace:
    k = len(objective)
    return Trace(np.arange(1, k + 1), np.array(objective), np.arange(k) % 3 != 1, **others)


@pytest.mark.parametrize(
    "objective",
    [[1e3, 2.0, 1e-3], [5.0, 0.0, -1.0], [2.0], [3.0, NAN, 1.0], [1e-9, 0.0, 0.0], [7.0, 7.0, 7.0], [NAN, NAN]],
)
def test_any_convergence_is_drawn(objective: list[float], pixels: Pixels) -> None:
    violation = np.array([0.1, np.inf, 0.0][: len(objective)])
    pixels(plot_convergence(trace(objective, violation=violation)))


def test_convergence_shows_its_data(pixels: Pixels) -> None:
    loop, slsqp = trace([5.0, 3.0, 2.0]), trace([5.0, 4.0, 2.5])
    figures = [
        plot_convergence({"loop": loop}),
        plot_convergence({"loop": loop}, best=2.2),
        plot_convergence({"loop": loop, "SLSQP": slsqp}),
        plot_convergence({"loop": replace(loop, violation=np.array([1.0, 0.1, 0.0]))}),
        plot_convergence({"loop": replace(loop, violation=np.array([1.0, 0.1, 0.5]))}),
        plot_convergence({"loop": replace(loop, stationarity=np.array([1.0, 0.1, 0.5]))}),
        plot_convergence({"loop": replace(loop, accepted=np.ones(3, dtype=bool))}),
        plot_convergence({"loop": loop}, name="drag"),
    ]
    assert len({pixels(figure) for figure in figures}) == len(figures)


def test_panels_are_those_of_which_something_is_known() -> None:
    assert len(plot_convergence(trace([2.0])).axes) == 1
    assert len(plot_convergence(HISTORY).axes) == 3
    one = {"SLSQP": trace([2.0, 1.0, 0.5], violation=np.zeros(3)), "bare": trace([2.0])}
    assert [axis.get_ylabel().split("\n")[0] for axis in plot_convergence(one, name="f").axes] == [
        "f",
        "largest violation, scaled",
    ]


def test_reference_that_is_not_known_is_not_drawn(pixels: Pixels) -> None:
    bare, nan = (plot_convergence(trace([2.0, 1.5, 1.0]), best=best) for best in (None, NAN))
    assert pixels(bare) == pixels(nan)


def test_a_history_is_drawn_as_its_result() -> None:
    def lines(figure: Figure) -> str:
        return str([line.get_xydata() for axis in figure.axes for line in axis.lines])

    for plot in (plot_convergence, plot_trust_region, plot_prediction):
        assert lines(plot(HISTORY)) == lines(plot(Result(HISTORY)))
    assert lines(plot_convergence(HISTORY)) == lines(plot_convergence({"": Result(HISTORY)}))


def test_convergence_draws_measures_of_accepted_iterations_at_their_evaluations() -> None:
    objective, feasibility, stationarity = (
        np.asarray(axis.lines[0].get_xydata(), dtype=float) for axis in plot_convergence(HISTORY).axes
    )
    np.testing.assert_allclose(objective, [[1, 5.0], [2, 4.0], [5, 3.0]])
    np.testing.assert_allclose(feasibility, [[1, 1.0], [2, 0.1], [5, 1e-4]])
    np.testing.assert_allclose(stationarity, [[1, 10.0], [2, 1.0], [5, 1e-3]])


def test_a_legend_tells_accepted_from_rejected() -> None:
    for figure, words in (
        (plot_convergence(HISTORY), ["accepted", "rejected"]),
        (plot_convergence({"loop": HISTORY}, best=1.0), ["loop", "reference", "rejected"]),
    ):
        legend = figure.axes[0].get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == words


def test_trust_region_shows_radius_ratio_acceptance_and_failures(pixels: Pixels) -> None:
    def changed(at: int, **changes: Any) -> tuple[Iteration, ...]:
        return tuple(replace(one, **changes) if one.number == at else one for one in HISTORY)

    histories = [
        HISTORY,
        changed(1, radius=3.0),
        changed(1, ratio=0.1),
        changed(1, accepted=False),
        changed(3, failure=""),
    ]
    assert len({pixels(plot_trust_region(history)) for history in histories}) == len(histories)


def test_trust_region_of_one_iteration_is_drawn(pixels: Pixels) -> None:
    pixels(plot_trust_region(HISTORY[:1]))


@pytest.mark.parametrize(
    ("predicted", "true"),
    [
        ([NAN, 3.0, 2.0], [4.0, 3.1, 2.0]),
        ([NAN, 3e3, 2e-3], [4e4, 3.1, 2e-3]),
        ([NAN], [4.0]),
        ([NAN, -1.0, 2.0], [4.0, 3.0, NAN]),
    ],
)
def test_any_prediction_is_drawn(predicted: list[float], true: list[float], pixels: Pixels) -> None:
    pixels(plot_prediction(trace(true, predicted=np.array(predicted))))


def test_a_wrong_prediction_shows(pixels: Pixels) -> None:
    right, wrong = (trace([4.0, 3.0, 2.0], predicted=np.array([4.0, 3.0, 2.0]) + off) for off in (0.0, 1.0))
    assert pixels(plot_prediction(right)) != pixels(plot_prediction(wrong))


def test_figures_are_saved(tmp_path: Path) -> None:
    for plot in (plot_convergence, plot_trust_region, plot_prediction):
        plot(HISTORY, title="a title", path=tmp_path / f"{plot.__name__}.png")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("plot", [plot_convergence, plot_trust_region, plot_prediction])
def test_an_empty_history_is_refused(plot: Any) -> None:
    for empty in ((), Result([])):
        message = "^`history` must have at least one iteration, got none. Run the optimization first.$"
        with pytest.raises(InputError, match=message):
            plot(empty)


@pytest.mark.parametrize("count", [0, 7])
def test_too_many_histories_are_refused(count: int) -> None:
    message = f"^`history` must have 1 to 6 labels, got {count}. Plot fewer in one figure.$"
    with pytest.raises(InputError, match=message):
        plot_convergence({str(k): HISTORY for k in range(count)})


def test_a_trace_without_predictions_is_refused() -> None:
    message = r"^`history` must have predicted objectives, got a trace with predicted=None. Pass a history, or Trace\("
    with pytest.raises(InputError, match=message):
        plot_prediction(trace([1.0]))
