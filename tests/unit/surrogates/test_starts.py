"""Of several starts the best continue, those near the best are averaged, and any end leaves a valid result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradopt
from gradopt import JENN, MLP, Dataset, GradINN, Surrogate
from gradopt.networks.mlp import Network
from gradopt.solvers import LBFGS, Adam, LevenbergMarquardt, Progress, Status
from gradopt.surrogates import FitInterrupted
from gradopt.training.evidence import Evidence
from gradopt.training.result import Callback

LM = LevenbergMarquardt(max_iterations=12)
QUICK = JENN((3,), solver=LM, starts=1)
SEVERAL = replace(QUICK, starts=5)
Waves = Callable[..., Dataset]
AtCall = Callable[[int, Callback], Callback]


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run five starts to 6 iterations, two on the values, one of these on all; four continue to 9, three to 12."""
    monkeypatch.setattr("gradopt.surrogates.fitting.starts._STAGES", ((6, 4), (9, 3)))
    monkeypatch.setattr("gradopt.surrogates.fitting.starts._VALUES_FIRST", 2)


def told(configuration: JENN, data: Dataset) -> tuple[Surrogate, list[Progress]]:
    """Fit, and return the surrogate and the progress that the callback gets."""
    seen: list[Progress] = []
    return configuration.fit(data, callback=seen.append), seen


def interrupt(progress: Progress) -> bool:
    raise KeyboardInterrupt


def stop(progress: Progress) -> bool:
    return True


@pytest.mark.parametrize(
    ("settings", "starts"),
    [({}, 16), ({"weights": "fixed"}, 4), ({"solver": LBFGS(1)}, 4), ({"solver": Adam(1)}, 1), ({"starts": 2}, 2)],
    ids=str,
)
def test_the_number_of_starts_depends_on_the_solver(settings: dict[str, Any], starts: int, waves: Waves) -> None:
    short: dict[str, Any] = {"solver": LevenbergMarquardt(max_iterations=1), "starts": None, **settings}
    assert len(replace(QUICK, **short).fit(waves()).fit_result.start_losses) == starts


def test_values_alone_get_fewer_starts(waves: Waves) -> None:
    assert len(MLP((3,), solver=LevenbergMarquardt(max_iterations=1)).fit(waves()).fit_result.start_losses) == 8


def test_starts_have_several_shapes_and_the_evidence_selects(waves: Waves) -> None:
    shapes = [("softplus", None), ("tanh", None), ("sin", "quadratic"), ("softplus", None)]
    data = waves()
    found = {start: replace(SEVERAL, starts=start + 1).fit(data).fit_result for start in range(4)}
    for start, shape in enumerate(shapes):
        network = Network((2, 3, 2), *shape)
        assert SEVERAL.allows(network)
        if found[start].start == start:
            assert found[start].n_parameters == network.n_parameters
    assert found[3].start == int(np.argmin(found[3].start_losses))
    assert found[3].log_evidence == tuple(-loss for loss in found[3].start_losses)


def test_many_samples_get_one_shape(waves: Waves) -> None:
    assert replace(QUICK, solver=Adam(1)).fit(waves()).network == Network((2, 3, 2), "silu")


@pytest.mark.parametrize(
    ("settings", "network", "makes"),
    [
        ({}, Network((2, 3, 2), "silu"), True),
        ({}, Network((5, 3, 7), "softplus"), True),
        ({}, Network((2, 3, 2), "sin", "quadratic"), True),
        ({}, Network((2, 3, 2), "sin"), False),
        ({}, Network((2, 4, 2), "softplus"), False),
        ({"activation": "sin"}, Network((2, 3, 2), "sin"), True),
        ({"activation": "sin"}, Network((2, 3, 2), "sin", "quadratic"), False),
        ({"activation": "sin"}, Network((2, 3, 2), "softplus"), False),
        ({"trend": "linear"}, Network((2, 3, 2), "tanh", "linear"), True),
        ({"trend": "linear"}, Network((2, 3, 2), "sin", "quadratic"), False),
        ({"trend": None}, Network((2, 3, 2), "sin"), True),
    ],
    ids=str,
)
def test_a_configuration_allows_the_networks_of_its_fits(
    settings: dict[str, Any], network: Network, makes: bool
) -> None:
    assert replace(QUICK, **settings).allows(network) == makes


@pytest.mark.parametrize("beta", [0.0, [[0.0, 1.0]]], ids=str)
def test_partials_without_values_are_fitted_from_every_start(beta: Any, waves: Waves) -> None:
    configuration = replace(QUICK, beta=beta, starts=8, solver=LevenbergMarquardt(max_iterations=20))
    result = configuration.fit(waves()).fit_result
    assert len({round(loss, 2) for loss in result.start_losses}) == 8


def test_of_fits_without_a_finite_evidence_one_is_kept(waves: Waves) -> None:
    fitted = replace(SEVERAL, beta=1e39, dtype="float32").fit(waves())  # no number in single precision
    assert fitted.fit_result.status is Status.NOT_FINITE
    assert [trained.share for trained in fitted.networks] == [1.0]
    assert fitted.fit_result.log_evidence is None


def test_weights_are_learned_in_single_precision_too(waves: Waves) -> None:
    fitted = replace(SEVERAL, dtype="float32").fit(waves())
    assert fitted.fit_result.learned is not None
    assert np.array_equal(fitted.theta, fitted.theta.astype(np.float32))


def test_networks_near_the_best_are_averaged_by_their_evidence(monkeypatch: pytest.MonkeyPatch, waves: Waves) -> None:
    data, temperature = waves(), 400.0
    monkeypatch.setattr("gradopt.surrogates.fitting.trained_network._TEMPERATURE", temperature)
    fitted, seen = told(SEVERAL, data)
    to_the_end = sorted({progress.start for progress in seen if progress.iteration == 12})
    losses = np.array(fitted.fit_result.start_losses)[to_the_end]
    assert fitted.fit_result.start == to_the_end[int(np.argmin(losses))]
    relative = np.sort(np.exp((losses.min() - losses) / temperature))[::-1]
    for least, count in ((0.0, 3), (float(relative[1:].mean()), 2)):  # the other two starts are too raw
        monkeypatch.setattr("gradopt.surrogates.fitting.trained_network._LEAST_SHARE", least)
        shares = [trained.share for trained in SEVERAL.fit(data).networks]
        assert shares == pytest.approx(relative[:count] / relative[:count].sum())
        assert sum(shares) == pytest.approx(1.0, abs=1e-12)


def test_the_same_seed_gives_the_same_average_and_file(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, waves: Waves
) -> None:
    monkeypatch.setattr("gradopt.surrogates.fitting.trained_network._TEMPERATURE", 400.0)
    first, second = SEVERAL.fit(waves()), SEVERAL.fit(waves())
    assert len(first.networks) > 1
    first.save(tmp_path / "average")
    loaded = gradopt.load(tmp_path / "average")
    assert first.digest == second.digest == loaded.digest
    for mine, theirs in zip(first.linearize(waves().x), loaded.linearize(waves().x), strict=True):
        assert np.array_equal(mine, theirs)
    assert first.digest != replace(SEVERAL, seed=1).fit(waves()).digest


def best_of(seen: list[Progress], first: int, last: int) -> float:
    """Least loss of the calls from one to another, counted from 1."""
    assert len({progress.start for progress in seen[first - 1 : last]}) == 1, "one start"
    return min(progress.loss for progress in seen[first - 1 : last])


def test_all_starts_run_and_the_best_continue_in_stages(waves: Waves) -> None:
    fitted, seen = told(SEVERAL, waves())
    trial = {start: best_of(seen, 6 * start + 1, 6 * start + 6) for start in range(5)}
    assert [seen[6 * start].start for start in range(5)] == [0, 1, 2, 3, 4]
    values = [best_of(seen, 31, 36), best_of(seen, 37, 42)]
    again = int(np.argmin(values))
    assert [seen[30].start, seen[36].start, seen[42].start] == [0, 1, again]
    trial[again] = min(trial[again], best_of(seen, 43, 48))
    four = sorted(trial, key=lambda start: trial[start])[:4]
    assert [seen[call].start for call in (48, 51, 54, 57)] == four
    for number, start in enumerate(four):
        trial[start] = min(trial[start], best_of(seen, 49 + 3 * number, 51 + 3 * number))
    three = sorted(four, key=lambda start: trial[start])[:3]
    assert [seen[call].start for call in (60, 63, 66)] == three
    assert [p.iteration for p in seen[60:]] == [10, 11, 12] * 3
    kept = fitted.fit_result
    assert kept.iterations == 12 and len(kept.history) == 13
    assert kept.history[10:] == tuple(p.loss for p in seen[60:] if p.start == kept.start)
    assert len(seen) == 69


@pytest.mark.parametrize("call", [2, 14, 26, 33, 40, 45, 50, 58, 66], ids=lambda call: f"call {call}")
@pytest.mark.parametrize("how", ["Ctrl-C", "callback"])
def test_a_fit_that_is_ended_has_its_status_and_the_best_parameters(
    call: int, how: str, waves: Waves, at_call: AtCall
) -> None:
    _, seen = told(SEVERAL, waves())
    if how == "Ctrl-C":
        with pytest.raises(FitInterrupted, match=r"continue with fit\(data, warm_start=surrogate\)") as caught:
            SEVERAL.fit(waves(), callback=at_call(call, interrupt))
        fitted, status = caught.value.surrogate, Status.INTERRUPTED
    else:
        fitted, status = SEVERAL.fit(waves(), callback=at_call(call, stop)), Status.STOPPED
    result = fitted.fit_result
    assert result.status is status
    assert len(result.start_losses) == (seen[call - 1].start + 1 if call <= 30 else 5)
    assert result.start == int(np.argmin(result.start_losses))
    assert min(result.history) == result.start_losses[result.start]
    assert sum(trained.share for trained in fitted.networks) == pytest.approx(1.0)
    assert result.learned is not None
    again = replace(SEVERAL, solver=LevenbergMarquardt(max_iterations=0)).fit(waves(), warm_start=fitted)
    assert again.fit_result.history[-1] == pytest.approx(result.start_losses[result.start], rel=1e-9)


@pytest.mark.parametrize(
    ("run", "starts"), [(2, 1), (5, 4), (6, 5), (7, 5), (8, 5), (9, 5), (10, 5), (13, 5), (14, 5)], ids=str
)
def test_ctrl_c_between_the_callbacks_keeps_the_runs_before(
    monkeypatch: pytest.MonkeyPatch, run: int, starts: int, waves: Waves
) -> None:
    solve, calls = Evidence.solve, list[int]()

    def interrupted(self: Evidence, *arguments: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == run:
            raise KeyboardInterrupt
        return solve(self, *arguments)

    monkeypatch.setattr(Evidence, "solve", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        SEVERAL.fit(waves())
    assert isinstance(caught.value, FitInterrupted)
    assert len(caught.value.surrogate.fit_result.start_losses) == starts


@pytest.mark.parametrize(
    ("configuration", "runs"),
    [
        (SEVERAL, 5 + 2 + 1 + 4 + 3),
        (replace(SEVERAL, beta=0.0), 5 + 4 + 3),
        (MLP((3,), solver=LM, starts=5), 5),
        (GradINN((3,), solver=LM, starts=5, gamma=0.0), (5 + 4 + 3) + 5),
    ],
    ids=["both", "partials", "values", "values and a prior, then without it"],
)
def test_values_are_fitted_first_only_with_partials_and_all_starts_of_values_alone_finish(
    monkeypatch: pytest.MonkeyPatch, configuration: JENN | MLP | GradINN, runs: int, waves: Waves
) -> None:
    solve, calls = Evidence.solve, list[int]()

    def spied(self: Evidence, *arguments: Any) -> Any:
        calls.append(self.max_iterations)
        return solve(self, *arguments)

    monkeypatch.setattr(Evidence, "solve", spied)
    configuration.fit(waves())
    assert len(calls) == runs


def test_ctrl_c_while_the_values_are_fitted_ends_the_training(
    monkeypatch: pytest.MonkeyPatch, waves: Waves, at_call: AtCall
) -> None:
    solve, iterations = Evidence.solve, list[int]()

    def spied(self: Evidence, *arguments: Any) -> Any:
        iterations.append(self.max_iterations)
        return solve(self, *arguments)

    monkeypatch.setattr(Evidence, "solve", spied)
    with pytest.raises(FitInterrupted):
        SEVERAL.fit(waves(), callback=at_call(40, interrupt))
    assert iterations == [6] * 5 + [6, 6, 0]


@pytest.mark.parametrize("limit", [0.0, 0.05])
def test_a_fit_at_its_time_limit_has_that_status(limit: float, waves: Waves) -> None:
    solver = LevenbergMarquardt(max_iterations=10**6, time_limit=limit)
    result = JENN((20,), solver=solver).fit(waves(30)).fit_result
    assert result.status is Status.TIME_LIMIT
    assert result.seconds < limit + 2.0
