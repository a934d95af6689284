"""Fits learn their weights where they may, say which, keep them, and end in order whenever they are ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import gradopt
from gradopt import (
    JENN,
    LBFGS,
    MLP,
    Adam,
    Dataset,
    FitInterrupted,
    GradINN,
    InputError,
    LevenbergMarquardt,
    Progress,
    Status,
    Surrogate,
)
from gradopt.data.scaling import Scaling
from gradopt.networks.mlp import Network
from gradopt.surrogates.fitting import Member, as_evidence, build_problem
from gradopt.training.evidence import Evidence
from gradopt.training.result import Callback

LM = LevenbergMarquardt(max_iterations=12)
QUICK = JENN((3,), solver=LM, starts=1)
SEVERAL = replace(QUICK, starts=5)


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """All five to 6 iterations, two with the values alone, one of these with all; four go on to 9, three to 12."""
    monkeypatch.setattr("gradopt.surrogates.starts._ROUNDS", ((6, 4), (9, 3)))
    monkeypatch.setattr("gradopt.surrogates.starts._VALUES_FIRST", 2)


def waves(n: int = 14, noise: float = 0.0) -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, (n, 2))
    phase = x @ [1.0, 0.5]
    y = np.stack([np.sin(phase), x[:, 0] * x[:, 1]], axis=1)
    slopes = np.cos(phase)[:, None] * [1.0, 0.5]
    dydx = np.stack([slopes, x[:, ::-1]], axis=1)
    return Dataset(x, y + noise * rng.normal(size=y.shape), dydx)


def told(configuration: JENN, data: Dataset) -> tuple[Surrogate, list[Progress]]:
    """Fit, and keep what the callback is told."""
    seen: list[Progress] = []
    return configuration.fit(data, callback=seen.append), seen


def at_call(number: int, act: Callback) -> Callback:
    """Act when called for that time, counted from 1."""
    left = iter(range(number - 1, -1, -1))
    return lambda progress: act(progress) if next(left) == 0 else None


def interrupt(progress: Progress) -> bool:
    raise KeyboardInterrupt


def stop(progress: Progress) -> bool:
    return True


@pytest.mark.parametrize(
    ("settings", "learned"),
    [
        ({}, True),
        ({"weights": "evidence"}, True),
        ({"solver": "levenberg_marquardt", "weights": "evidence"}, True),
        ({"weights": "fixed"}, False),
        ({"alpha": 1e-3}, False),
        ({"alpha": 0.0}, False),
        ({"solver": LBFGS(3)}, False),
        ({"solver": Adam(3)}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [JENN, MLP])
def test_weights_are_learned_where_asked_or_possible(
    kind: type[JENN | MLP], settings: dict[str, Any], learned: bool
) -> None:
    fitted = kind((3,), **{"solver": LM, "starts": 1, **settings}).fit(waves(), callback=at_call(5, stop))
    assert (fitted.fit_result.learned is not None) == learned
    assert fitted.members[0].learned == fitted.fit_result.learned


@pytest.mark.parametrize("solver", ["adam", "lbfgs", LBFGS(3)], ids=str)
def test_a_solver_that_cannot_learn_them_is_refused(solver: Any) -> None:
    message = "`weights` must be 'fixed' with this solver, got 'evidence' with (Adam|LBFGS).*solver='levenberg"
    with pytest.raises(InputError, match=message):
        replace(QUICK, solver=solver, weights="evidence").fit(waves())


@pytest.mark.parametrize(
    ("settings", "starts"),
    [({}, 16), ({"weights": "fixed"}, 4), ({"solver": LBFGS(1)}, 4), ({"solver": Adam(1)}, 1), ({"starts": 2}, 2)],
    ids=str,
)
def test_number_of_starts_suits_the_solver(settings: dict[str, Any], starts: int) -> None:
    short: dict[str, Any] = {"solver": LevenbergMarquardt(max_iterations=1), "starts": None, **settings}
    assert len(replace(QUICK, **short).fit(waves()).fit_result.start_losses) == starts


def test_values_alone_get_fewer_starts() -> None:
    assert len(MLP((3,), solver=LevenbergMarquardt(max_iterations=1)).fit(waves()).fit_result.start_losses) == 8


def test_starts_take_several_shapes_and_the_data_choose() -> None:
    shapes = [("softplus", None), ("tanh", None), ("sin", "quadratic"), ("softplus", None)]
    data = waves()
    found = {start: replace(SEVERAL, starts=start + 1).fit(data).fit_result for start in range(4)}
    for start, shape in enumerate(shapes):
        network = Network((2, 3, 2), *shape)
        assert SEVERAL.makes(network)
        if found[start].start == start:
            assert found[start].n_parameters == network.n_parameters
    assert found[3].start == int(np.argmin(found[3].start_losses))
    assert found[3].log_evidence == tuple(-loss for loss in found[3].start_losses)


def test_many_samples_get_one_shape() -> None:
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
def test_a_configuration_knows_the_networks_it_may_make(
    settings: dict[str, Any], network: Network, makes: bool
) -> None:
    assert replace(QUICK, **settings).makes(network) == makes


def test_the_loss_is_that_of_the_configured_times_the_learned_weights() -> None:
    data = waves()
    beta, gamma = np.array([2.0, 1.0]), np.array([[1.0, 3.0], [0.5, 1.0]])
    fitted = replace(QUICK, beta=beta, gamma=gamma).fit(data)
    result, scaling = fitted.fit_result, fitted.scaling
    learned = result.learned
    assert learned is not None and learned.gamma is not None
    y, dydx = fitted.linearize(data.x)
    wrong = scaling.scale_outputs(y) - scaling.scale_outputs(data.y)
    steep = scaling.scale_partials(data.x, data.y, dydx - data.partials)
    groups, names = fitted.network.parameter_groups
    assert learned.groups == names
    assert result.loss == pytest.approx(
        {
            "values": 0.5 * (beta * learned.beta * wrong**2).sum(),
            "partials": 0.5 * (gamma * np.reshape(learned.gamma, (2, 2)) * steep**2).sum(),
            "prior": 0.5 * (np.array(learned.alpha)[groups] * fitted.theta**2).sum(),
        }
    )
    assert len(learned.alpha) == len(learned.determined) == len(names) == 4
    assert learned.effective_parameters == pytest.approx(sum(learned.determined))
    assert 0.0 < learned.effective_parameters <= len(fitted.theta)


def test_learned_noise_is_that_of_the_values() -> None:
    fitted = JENN((6,), solver=LevenbergMarquardt(max_iterations=60), starts=1).fit(waves(60, noise=0.2))
    assert fitted.fit_result.learned is not None
    deviations = np.array(fitted.fit_result.learned.beta) ** -0.5 * fitted.scaling.output_scale
    np.testing.assert_allclose(deviations, 0.2, rtol=0.25)


def test_an_output_without_partials_is_learned_beside_one_with() -> None:
    data = waves(40)
    half = replace(data, dydx=np.where([[True], [False]], data.partials, np.nan))
    fitted = JENN((8,), solver=LevenbergMarquardt(max_iterations=60), starts=1).fit(half)
    learned = fitted.fit_result.learned
    assert learned is not None and learned.gamma is not None
    assert learned.gamma[2:] == (Evidence().noise,) * 2 and min(learned.gamma[:2]) > 1e3
    assert np.sqrt(np.mean((fitted.predict(data.x) - data.y) ** 2)) < 0.05


def test_a_constant_input_is_switched_off() -> None:
    data = waves()
    fitted = QUICK.fit(replace(data, x=np.where([True, False], data.x, 0.3)))
    learned = fitted.fit_result.learned
    assert learned is not None and learned.gamma is not None
    assert learned.alpha[1] > 100.0 * learned.alpha[0] and learned.determined[1] < 0.1
    assert not fitted.linearize(data.x)[1][:, :, 1].any()


@pytest.mark.parametrize("beta", [0.0, [[0.0, 1.0]]], ids=str)
def test_partials_without_values_are_fitted_from_every_start(beta: Any) -> None:
    configuration = replace(QUICK, beta=beta, starts=8, solver=LevenbergMarquardt(max_iterations=20))
    result = configuration.fit(waves()).fit_result
    assert len({round(loss, 2) for loss in result.start_losses}) == 8


def test_of_fits_without_a_finite_evidence_one_is_kept() -> None:
    fitted = replace(SEVERAL, beta=1e39, dtype="float32").fit(waves())  # no number in single precision
    assert fitted.fit_result.status is Status.NOT_FINITE
    assert [member.share for member in fitted.members] == [1.0]
    assert fitted.fit_result.log_evidence is None


def test_single_precision_learns_too() -> None:
    fitted = replace(SEVERAL, dtype="float32").fit(waves())
    assert fitted.fit_result.learned is not None
    assert np.array_equal(fitted.theta, fitted.theta.astype(np.float32))


def test_networks_near_the_best_are_averaged_by_their_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    data, temperature = waves(), 400.0
    monkeypatch.setattr("gradopt.surrogates.fitting._TEMPERATURE", temperature)
    fitted, seen = told(SEVERAL, data)
    to_the_end = sorted({progress.start for progress in seen if progress.iteration == 12})
    losses = np.array(fitted.fit_result.start_losses)[to_the_end]
    assert fitted.fit_result.start == to_the_end[int(np.argmin(losses))]
    relative = np.sort(np.exp((losses.min() - losses) / temperature))[::-1]
    for least, count in ((0.0, 3), (float(relative[1:].mean()), 2)):  # the other two starts are too raw
        monkeypatch.setattr("gradopt.surrogates.fitting._LEAST_SHARE", least)
        shares = [member.share for member in SEVERAL.fit(data).members]
        assert shares == pytest.approx(relative[:count] / relative[:count].sum())
        assert sum(shares) == pytest.approx(1.0, abs=1e-12)


def test_the_same_seed_gives_the_same_average_and_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradopt.surrogates.fitting._TEMPERATURE", 400.0)
    first, second = SEVERAL.fit(waves()), SEVERAL.fit(waves())
    assert len(first.members) > 1
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


def test_all_starts_are_tried_and_the_best_go_on_in_rounds() -> None:
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
def test_a_fit_that_is_ended_says_so_and_keeps_the_best_so_far(call: int, how: str) -> None:
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
    assert sum(member.share for member in fitted.members) == pytest.approx(1.0)
    assert result.learned is not None
    again = replace(SEVERAL, solver=LevenbergMarquardt(max_iterations=0)).fit(waves(), warm_start=fitted)
    assert again.fit_result.history[-1] == pytest.approx(result.start_losses[result.start], rel=1e-9)


@pytest.mark.parametrize(
    ("run", "starts"), [(2, 1), (5, 4), (6, 5), (7, 5), (8, 5), (9, 5), (10, 5), (13, 5), (14, 5)], ids=str
)
def test_ctrl_c_between_the_callbacks_keeps_the_runs_before(
    monkeypatch: pytest.MonkeyPatch, run: int, starts: int
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
    ids=["both", "partials", "values", "values and a belief, then without it"],
)
def test_values_come_first_only_beside_partials_and_alone_all_go_to_the_end(
    monkeypatch: pytest.MonkeyPatch, configuration: JENN | MLP | GradINN, runs: int
) -> None:
    solve, calls = Evidence.solve, list[int]()

    def spied(self: Evidence, *arguments: Any) -> Any:
        calls.append(self.max_iterations)
        return solve(self, *arguments)

    monkeypatch.setattr(Evidence, "solve", spied)
    configuration.fit(waves())
    assert len(calls) == runs


def test_ctrl_c_while_the_values_are_fitted_trains_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    solve, iterations = Evidence.solve, list[int]()

    def spied(self: Evidence, *arguments: Any) -> Any:
        iterations.append(self.max_iterations)
        return solve(self, *arguments)

    monkeypatch.setattr(Evidence, "solve", spied)
    with pytest.raises(FitInterrupted):
        SEVERAL.fit(waves(), callback=at_call(40, interrupt))
    assert iterations == [6] * 5 + [6, 6, 0]


@pytest.mark.parametrize("limit", [0.0, 0.05])
def test_a_fit_that_runs_out_of_time_says_so(limit: float) -> None:
    solver = LevenbergMarquardt(max_iterations=10**6, time_limit=limit)
    result = JENN((20,), solver=solver).fit(waves(30)).fit_result
    assert result.status is Status.TIME_LIMIT
    assert result.seconds < limit + 2.0


def test_a_warm_start_learns_on_from_the_learned_weights() -> None:
    data = waves()
    first = replace(QUICK, solver=LevenbergMarquardt(max_iterations=20)).fit(data)
    second = QUICK.fit(data, warm_start=first)
    assert second.fit_result.history[0] == pytest.approx(first.fit_result.start_losses[0], rel=1e-9)
    assert second.fit_result.start_losses[0] < first.fit_result.start_losses[0]
    assert second.fit_result.learned != first.fit_result.learned


def test_a_warm_start_with_fixed_weights_forgets_the_learned_ones() -> None:
    data, first = waves(), QUICK.fit(waves())
    second = replace(QUICK, weights="fixed").fit(data, warm_start=first)
    assert second.fit_result.learned is None and second.members[0].learned is None
    assert second.fit_result.total_loss == pytest.approx(second.fit_result.history[-1], rel=1e-9)
    third = QUICK.fit(data, warm_start=second)
    assert third.fit_result.learned is not None


def test_learning_goes_on_from_values_alone_to_partials() -> None:
    data = waves()
    values = MLP((3,), solver=LM, starts=1).fit(data)
    assert values.fit_result.learned is not None and values.fit_result.learned.gamma is None
    both = QUICK.fit(data, warm_start=values).fit_result.learned
    assert both is not None and both.gamma is not None and len(both.gamma) == 4


@pytest.mark.parametrize("groups", ["each", "all"])
def test_a_refit_keeps_the_learned_weights(monkeypatch: pytest.MonkeyPatch, groups: str) -> None:
    if groups == "all":
        monkeypatch.setattr("gradopt.training.residuals._GROUPS_MEMORY", 0)
    data = waves()
    first = replace(QUICK, beta=2.0).fit(data)
    second = first.refit(data, first.configuration.data_weights(data), None)
    assert first.fit_result.learned is not None and first.fit_result.learned.gamma is not None
    assert len(first.fit_result.learned.gamma) == (4 if groups == "each" else 2)
    assert second.fit_result.learned == first.fit_result.learned == second.members[0].learned
    assert second.fit_result.history[0] == pytest.approx(first.fit_result.total_loss, rel=1e-9)
    assert second.fit_result.total_loss < first.fit_result.total_loss


def test_limits_of_the_solver_hold_for_learning() -> None:
    asked, data = LevenbergMarquardt(max_iterations=7, time_limit=9.0, memory_limit=11), waves()
    scaling, problems = Scaling.of(data), []
    for configuration in (MLP(), JENN(), GradINN(gamma=0.0)):
        network = Network((data.d, 2, data.m))
        auxiliary = None if configuration.belief is None else np.zeros(0)
        member, weights = (
            Member(network, np.zeros(network.n_parameters), auxiliary=auxiliary),
            configuration.data_weights(data),
        )
        problems.append(build_problem(configuration, member, data, scaling, weights))
    for problem in problems:
        same = as_evidence(asked, asked, problem)
        assert (same.max_iterations, same.time_limit, same.memory_limit) == (7, 9.0, 11)
    values, partials, belief = (as_evidence("auto", asked, problem) for problem in problems)
    assert {each.memory_limit for each in (values, partials, belief)} == {11}
    assert values.max_iterations < partials.max_iterations == belief.max_iterations
    assert [each.keep_best for each in (values, partials, belief)] == [False, True, False]


def test_learning_leaves_gradients_alone() -> None:
    assert torch.is_grad_enabled()
    QUICK.fit(waves())
    assert torch.is_grad_enabled()
