"""An incremental fit is a short warm fit, or a cold one for a stated reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradopt import JENN, MLP, Dataset, Surrogate, Variable
from gradopt.data.scaling import Scaling
from gradopt.errors import InputError, ShapeError
from gradopt.solvers import LBFGS, Adam, LevenbergMarquardt
from gradopt.surrogates import FitInterrupted, Polish
from gradopt.surrogates.fitting import incremental as module
from gradopt.surrogates.fitting.incremental import IncrementalFit, incremental_fit
from gradopt.training import levenberg_marquardt

CONFIGURATION = JENN((8,), activation="tanh", weights="fixed", starts=2, solver=LevenbergMarquardt(max_iterations=150))
LEARNING = replace(CONFIGURATION, weights="evidence", solver=LevenbergMarquardt(max_iterations=60))
IDLE = replace(CONFIGURATION, starts=1, solver=LevenbergMarquardt(max_iterations=0))


def waves(n: int, *more: list[float]) -> Dataset:
    """Sample two outputs at n points of a square, the first k of which are the same for every n, and at more points."""
    x = np.concatenate([np.random.default_rng(3).uniform(-2.0, 2.0, (n, 2)), np.reshape(more, (-1, 2))])
    a, b = x.T
    y = np.stack([np.sin(a) + 0.3 * b**2, a * b], axis=1)
    dydx = np.stack([np.stack([np.cos(a), 0.6 * b], axis=1), np.stack([b, a], axis=1)], axis=1)
    return Dataset(x, y, dydx)


def worst_error(surrogate: Surrogate, data: Dataset) -> float:
    y, dydx = surrogate.linearize(data.x)
    return max(float(abs(y - data.y).max()), float(np.nanmax(abs(dydx - data.partials))))


@pytest.fixture(scope="module")
def first() -> IncrementalFit:
    return incremental_fit(CONFIGURATION, waves(20))


@pytest.fixture(scope="module")
def poor() -> IncrementalFit:
    """Make a first fit without iterations."""
    return incremental_fit(IDLE, waves(20))


def test_the_first_incremental_fit_is_the_fit_of_the_configuration(first: IncrementalFit) -> None:
    assert np.array_equal(first.surrogate.theta, CONFIGURATION.fit(waves(20)).theta)
    assert (first.how, first.reason, first.samples, first.cold_samples) == ("cold", "First fit.", 20, 20)
    assert first.cold_kept


def test_the_misfit_is_the_root_mean_square_of_the_weighted_standardized_residuals(first: IncrementalFit) -> None:
    loss = first.surrogate.fit_result.loss
    assert first.cold_misfit == pytest.approx(
        np.sqrt((loss["values"] + loss["partials"]) / 60.0)
    )  # 20 * 2 * 3 residuals


def test_a_first_fit_with_a_candidate_is_polished_about_it(first: IncrementalFit) -> None:
    data = waves(20)
    found = incremental_fit(CONFIGURATION, data, None, data.x[4])
    short = replace(CONFIGURATION, solver=LevenbergMarquardt(max_iterations=50))
    expected = replace(first.surrogate, configuration=short).polish(data, candidate=data.x[4])
    assert np.array_equal(found.surrogate.theta, expected.theta)


def test_a_new_sample_is_fitted_by_a_short_warm_fit_in_the_old_scaling(first: IncrementalFit) -> None:
    data = waves(21)
    found = incremental_fit(CONFIGURATION, data, first, data.x[-1])
    assert (found.how, found.reason) == ("warm", "The warm fit represents the new samples.")
    assert (found.samples, found.cold_samples, found.cold_misfit) == (21, 20, first.cold_misfit)
    assert worst_error(found.surrogate, data.select([20])) < 0.1 * worst_error(first.surrogate, data.select([20]))
    assert found.surrogate.scaling is first.surrogate.scaling
    assert found.surrogate.configuration is CONFIGURATION
    assert found.surrogate.data_digest == data.digest
    assert found.surrogate.fit_result.iterations <= 50
    assert 0.0 < found.surrogate.fit_result.seconds < found.seconds


def test_without_a_candidate_nothing_is_magnified(first: IncrementalFit) -> None:
    data = waves(21)
    found = incremental_fit(CONFIGURATION, data, first).surrogate
    expected = CONFIGURATION.fit(data, warm_start=first.surrogate)
    assert found.fit_result.history[0] == pytest.approx(expected.fit_result.history[0])
    assert found.fit_result.notes[0] == "Continued on more samples."


def test_a_fit_without_new_samples_polishes_about_the_candidate(first: IncrementalFit) -> None:
    data = waves(20)
    found = incremental_fit(CONFIGURATION, data, first, data.x[7])
    assert found.how == "warm"
    assert worst_error(found.surrogate, data.select([7])) < worst_error(first.surrogate, data.select([7]))


def test_the_settings_of_the_polish_are_used(first: IncrementalFit) -> None:
    data = waves(21)
    strong = incremental_fit(CONFIGURATION, data, first, data.x[-1], Polish(about="candidate", magnitude=1e4))
    assert "magnitude=10000.0" in strong.surrogate.fit_result.notes[0]


def test_a_fit_leaves_the_previous_one_unchanged_and_is_reproducible(first: IncrementalFit) -> None:
    before, data = first.surrogate.theta.copy(), waves(21)
    twice = [incremental_fit(CONFIGURATION, data, first, data.x[-1]).surrogate.theta for _ in range(2)]
    assert np.array_equal(twice[0], twice[1])
    assert np.array_equal(first.surrogate.theta, before)
    assert not np.array_equal(twice[0], before)


def test_a_quarter_more_data_leads_to_a_cold_fit(first: IncrementalFit) -> None:
    assert incremental_fit(CONFIGURATION, waves(24), first).cold_samples == 20
    found = incremental_fit(CONFIGURATION, waves(25), first)
    assert found.cold_samples == 25
    assert found.reason.startswith("The data have grown from 20 to 25 samples since a cold fit.")


def test_the_better_of_warm_and_cold_is_kept(first: IncrementalFit, poor: IncrementalFit) -> None:
    cold = incremental_fit(CONFIGURATION, waves(25), replace(poor, cold_misfit=1e9))
    assert cold.how == "restarted" and cold.cold_kept
    assert cold.reason.endswith("The cold fit has the higher evidence.")
    assert np.array_equal(cold.surrogate.theta, CONFIGURATION.fit(waves(25)).theta)
    warm = incremental_fit(IDLE, waves(25), replace(first, cold_misfit=1e9))
    assert warm.how == "warm" and not warm.cold_kept
    assert warm.reason.endswith("A cold fit was made, but the warm one has the higher evidence.")
    assert np.array_equal(warm.surrogate.theta, first.surrogate.theta)


@pytest.mark.parametrize("name", ["old", "new"])
def test_a_stalled_warm_fit_is_restarted_at_once(first: IncrementalFit, poor: IncrementalFit, name: str) -> None:
    previous = first if name == "new" else replace(poor, cold_misfit=1e-3)
    found = incremental_fit(IDLE, waves(20, [2.6, -2.6]), previous)  # nothing is learned of the new sample
    assert found.reason.startswith(f"The warm fit stalled: misfit of the {name} samples")
    assert found.cold_samples == 21


def test_after_a_cold_fit_that_was_not_kept_none_is_made_before_the_data_have_grown(first: IncrementalFit) -> None:
    in_vain = incremental_fit(IDLE, waves(20, [2.6, -2.6]), first)
    assert in_vain.how == "warm" and in_vain.cold_samples == 21 and not in_vain.cold_kept
    stalled = replace(in_vain, cold_misfit=0.0)
    waiting = incremental_fit(IDLE, waves(22), stalled)
    assert (waiting.how, waiting.cold_samples, waiting.cold_kept) == ("warm", 21, False)
    assert waiting.reason.endswith("A cold fit was no better lately; the next is due at 27.")
    assert incremental_fit(IDLE, waves(27), stalled).cold_samples == 27


def test_a_negligible_misfit_is_no_stall(first: IncrementalFit) -> None:
    assert incremental_fit(CONFIGURATION, waves(21), replace(first, cold_misfit=0.0)).cold_samples == 21
    line = Dataset(np.arange(5.0)[:, None], np.arange(5.0)[:, None], np.ones((5, 1, 1)))
    exact = incremental_fit(CONFIGURATION, line.select(range(4)))
    shrunk = replace(exact, cold_misfit=0.0, cold_samples=5)
    assert incremental_fit(CONFIGURATION, line, shrunk).reason == "The warm fit represents the new samples."


def far_sample(n: int) -> Dataset:
    """Waves, of which the last sample has outputs far off."""
    data = waves(n)
    return replace(data, y=np.concatenate([data.y[:-1], [[500.0, 0.0]]]), dydx=None)


def test_data_far_outside_the_old_scaling_lead_to_a_cold_fit() -> None:
    configuration = replace(MLP((3,)), starts=1, solver=LevenbergMarquardt(max_iterations=20))
    first = incremental_fit(configuration, replace(waves(20), dydx=None))
    found = incremental_fit(configuration, far_sample(21), first)
    assert found.reason.startswith("The data reach ")
    assert found.cold_samples == 21


def test_data_far_outside_any_scaling_do_not_lead_to_a_cold_fit() -> None:
    configuration = MLP((3,), starts=1, solver=LevenbergMarquardt(max_iterations=2))
    data = far_sample(200)
    assert abs(Scaling.of(data).scale_outputs(data.y)).max() > 10.0
    first = incremental_fit(configuration, data)
    order = [*range(200), 0]
    found = incremental_fit(configuration, data.select(order), replace(first, cold_misfit=1e9))
    assert found.reason == "The warm fit represents the new samples."


def test_an_input_that_was_held_fixed_and_varies_now_leads_to_a_cold_fit() -> None:
    line = waves(21)
    x = np.where([True, False], line.x, 0.5)
    held = replace(line, x=x)
    first = incremental_fit(CONFIGURATION, held.select(range(20)))
    moved = replace(held, x=np.concatenate([x[:-1], line.x[-1:]]))
    found = incremental_fit(CONFIGURATION, moved, first, moved.x[-1])
    assert found.how == "restarted"
    assert found.reason == "No warm fit is possible: an input varies that was held fixed."
    assert not found.surrogate.scaling.constant.any()


def test_partials_of_an_input_held_fixed_change_neither_misfit_nor_evidence() -> None:
    held = replace(waves(25), x=np.where([True, False], waves(25).x, 0.5))
    first = incremental_fit(CONFIGURATION, held.select(range(20)))
    loss = first.surrogate.fit_result.loss
    assert first.cold_misfit == pytest.approx(
        np.sqrt((loss["values"] + loss["partials"]) / 40.0)
    )  # 20 * 2 * 2 residuals
    assert incremental_fit(CONFIGURATION, held, replace(first, cold_misfit=1e9)).reason.endswith("the higher evidence.")


@pytest.mark.parametrize("change", [{"hidden_sizes": (5,)}, {"activation": "softplus"}], ids=lambda change: str(change))
def test_another_network_leads_to_a_cold_fit(first: IncrementalFit, change: dict[str, Any]) -> None:
    found = incremental_fit(replace(CONFIGURATION, **change), waves(21), first)
    assert found.how == "restarted"
    assert found.reason == "No warm fit is possible: the configuration has another network."


@pytest.mark.parametrize("kind", ["JENN", "masked", "MLP"])
def test_a_loop_can_begin_with_two_samples(kind: str) -> None:
    data = waves(8)
    if kind == "masked":
        mask = np.random.default_rng(0).random(data.partials.shape) < 0.4
        data = replace(data, dydx=np.where(mask, np.nan, data.partials))
    settings: dict[str, Any] = {"starts": 1, "solver": LevenbergMarquardt(max_iterations=100)}
    configuration = MLP((6,), **settings) if kind == "MLP" else JENN((6,), **settings)
    state = incremental_fit(configuration, data.select(range(2)))
    for n in range(3, data.n + 1):
        state = incremental_fit(configuration, data.select(range(n)), state, data.x[n - 1])
    last = data.select([data.n - 1])
    assert abs(state.surrogate.predict(last.x) - last.y).max() < 1e-2
    residuals = data.n * 2 + (0 if kind == "MLP" else int(data.known.sum()))
    assert state.surrogate.fit_result.n_residuals == residuals


def test_a_constant_output_is_learned() -> None:
    data = replace(waves(6), y=np.ones((6, 2)), dydx=np.zeros((6, 2, 2)))
    state = incremental_fit(CONFIGURATION, data.select(range(5)))
    state = incremental_fit(CONFIGURATION, data, state, data.x[-1])
    assert state.surrogate.predict(data.x) == pytest.approx(np.ones((6, 2)), abs=1e-6)


@pytest.mark.parametrize(
    ("solver", "iterations"),
    [
        ("auto", range(1, 51)),
        ("levenberg_marquardt", range(1, 51)),
        (LevenbergMarquardt(max_iterations=3), range(3, 4)),
        ("lbfgs", range(100, 201)),
        (LBFGS(max_iterations=7), range(7, 8)),
        (Adam(epochs=5), range(5, 6)),
    ],
    ids=str,
)
def test_a_warm_fit_is_short_with_every_solver(first: IncrementalFit, solver: Any, iterations: range) -> None:
    data = waves(21)
    found = incremental_fit(
        replace(CONFIGURATION, solver=solver, starts=1), data, replace(first, cold_misfit=1e9), data.x[-1]
    )
    assert found.how == "warm"
    assert found.surrogate.fit_result.iterations in iterations


def test_without_alpha_the_fit_of_the_higher_likelihood_is_kept(poor: IncrementalFit) -> None:
    free = replace(CONFIGURATION, alpha=0.0)
    assert incremental_fit(free, waves(25), replace(poor, cold_misfit=1e9)).how == "restarted"
    good = incremental_fit(free, waves(20))
    assert incremental_fit(replace(IDLE, alpha=0.0), waves(25), replace(good, cold_misfit=1e9)).how == "warm"


@pytest.mark.parametrize(
    "configuration", [MLP((8,), alpha=0.0), JENN((8,), beta=0.0, alpha=0.0)], ids=["values", "partials"]
)
def test_merits_of_one_network_in_two_scalings_are_equal(first: IncrementalFit, configuration: MLP | JENN) -> None:
    data = waves(20)
    surrogate = replace(first.surrogate, configuration=configuration)
    scaling, theta = surrogate.scaling, np.array(surrogate.theta)
    other = replace(scaling, input_scale=2.0 * scaling.input_scale, output_scale=5.0 * scaling.output_scale)
    (first_weights, *_), (last_weights, last_biases, _) = surrogate.network.layers
    theta[first_weights] *= 2.0
    theta[last_weights] /= 5.0
    theta[last_biases] /= 5.0
    same = replace(surrogate, scaling=other, networks=(replace(surrogate.networks[0], theta=theta),))
    assert same.predict(data.x) == pytest.approx(surrogate.predict(data.x))
    assert module._merit(same, data) == pytest.approx(module._merit(surrogate, data))


def test_merits_of_one_network_with_learned_weights_in_two_scalings_are_equal() -> None:
    data = waves(20)
    surrogate = LEARNING.fit(data)
    (trained, *_), scaling = surrogate.networks, surrogate.scaling
    other = replace(scaling, input_scale=2.0 * scaling.input_scale, output_scale=5.0 * scaling.output_scale)
    (first_weights, *_), (last_weights, last_biases, _) = trained.network.layers
    theta, learned = np.array(trained.theta), trained.learned
    assert learned is not None and learned.gamma is not None
    for part, factor in ((first_weights, 2.0), (last_weights, 0.2), (last_biases, 0.2)):
        theta[part] *= factor
    changes = {"input 0": 0.25, "input 1": 0.25, "biases 1": 1.0, "layer 2": 25.0}
    same_learned = replace(
        learned,
        alpha=tuple(value * changes[name] for name, value in zip(learned.groups, learned.alpha, strict=True)),
        beta=tuple(25.0 * value for value in learned.beta),
        gamma=tuple(25.0 / 4.0 * value for value in learned.gamma),
    )
    same = replace(
        surrogate,
        scaling=other,
        networks=(replace(trained, theta=theta, learned=same_learned),),
        fit_result=replace(surrogate.fit_result, learned=same_learned),
    )
    assert module._merit(same, data) == pytest.approx(module._merit(surrogate, data))


def test_a_warm_fit_keeps_the_learned_weights_and_a_better_cold_fit_learns_new_ones() -> None:
    state = incremental_fit(LEARNING, waves(20))
    warm = incremental_fit(LEARNING, waves(21), state, waves(21).x[-1])
    assert warm.how == "warm"
    assert warm.surrogate.fit_result.learned == state.surrogate.fit_result.learned is not None
    idle = replace(LEARNING, starts=1, solver=LevenbergMarquardt(max_iterations=0))
    poor = incremental_fit(idle, waves(20))
    fresh = incremental_fit(LEARNING, waves(25), replace(poor, cold_misfit=1e9))
    assert fresh.how == "restarted"
    assert fresh.surrogate.fit_result.learned not in (None, poor.surrogate.fit_result.learned)
    kept = incremental_fit(idle, waves(25), replace(state, cold_misfit=1e9))
    assert kept.reason.endswith("A cold fit was made, but the warm one has the higher evidence.")


def test_the_merit_of_a_surrogate_that_is_not_finite_is_minus_infinity(first: IncrementalFit) -> None:
    trained = first.surrogate.networks[0]
    broken = replace(trained, theta=np.full_like(trained.theta, np.nan))
    assert module._merit(replace(first.surrogate, networks=(broken,)), waves(20)) == -np.inf


def test_ctrl_c_keeps_the_state_and_the_configuration(first: IncrementalFit, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    original = levenberg_marquardt._loss
    monkeypatch.setattr(levenberg_marquardt, "_loss", interrupted)
    with pytest.raises(FitInterrupted) as found:
        incremental_fit(CONFIGURATION, waves(21), first, waves(21).x[-1])
    assert found.value.surrogate.configuration is CONFIGURATION


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((waves(20).x, None, [0.0, 0.0]), "`data` must be a Dataset, got ndarray"),
        ((waves(1),), "`data` must hold at least 2 samples"),
        (
            (waves(20), "old"),
            "`previous` must be an IncrementalFit or None, got str. Pass the result of the last `incremental_fit`",
        ),
        ((waves(20), None, None, Polish()), r"`polish` must be about 'candidate', got Polish\(.*Pass Polish\(about="),
        ((waves(20), None, None, "hard"), "`polish` must be about 'candidate', got 'hard'"),
        ((waves(20), None, [0.0, np.inf]), "`candidate` must be finite"),
    ],
    ids=["data", "one sample", "previous", "flat", "text", "candidate"],
)
def test_bad_arguments_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        incremental_fit(CONFIGURATION, *arguments)


def test_a_candidate_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"`candidate` must have shape \(d,\) = \(2,\), got \(3,\)"):
        incremental_fit(CONFIGURATION, waves(20), None, np.zeros(3))


@pytest.mark.parametrize("change", ["variables", "two at a point"])
def test_a_warm_fit_refuses_the_data_that_a_fit_refuses(first: IncrementalFit, change: str) -> None:
    data = waves(21)
    if change == "variables":
        with pytest.raises(InputError, match=r"`data\.inputs` must equal "):
            incremental_fit(CONFIGURATION, replace(data, inputs=[Variable("a"), Variable("b")]), first)
    else:
        with pytest.raises(InputError, match="`data` must not hold different values"):
            incremental_fit(CONFIGURATION, replace(data, x=data.x[[*range(20), 0]]), first)


def test_a_warm_fit_refuses_data_outside_the_domain_of_a_transform() -> None:
    x = np.linspace(1.0, 2.0, 5)[:, None]
    data = Dataset(x, x**2, 2.0 * x[:, None], None, [Variable("f", transform="log")])
    first = incremental_fit(replace(CONFIGURATION, hidden_sizes=(3,)), data.select(range(4)))
    with pytest.raises(InputError, match="`y` must be positive in column 'f'"):
        incremental_fit(replace(CONFIGURATION, hidden_sizes=(3,)), replace(data, y=data.y - 3.9), first)
