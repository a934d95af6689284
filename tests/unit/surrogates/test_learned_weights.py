"""Fits learn their weights where possible, report them, and keep them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gradopt import JENN, MLP, Dataset, GradINN
from gradopt.data.scaling import Scaling
from gradopt.errors import InputError
from gradopt.networks.mlp import Network
from gradopt.solvers import LBFGS, Adam, LevenbergMarquardt, Progress
from gradopt.surrogates.fitting.networks import build_problem, evidence_solver
from gradopt.surrogates.fitting.trained_network import TrainedNetwork
from gradopt.training.evidence import Evidence
from gradopt.training.result import Callback

LM = LevenbergMarquardt(max_iterations=12)
QUICK = JENN((3,), solver=LM, starts=1)
Waves = Callable[..., Dataset]
AtCall = Callable[[int, Callback], Callback]


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
def test_weights_are_learned_on_request_or_where_possible(
    kind: type[JENN | MLP], settings: dict[str, Any], learned: bool, waves: Waves, at_call: AtCall
) -> None:
    fitted = kind((3,), **{"solver": LM, "starts": 1, **settings}).fit(waves(), callback=at_call(5, stop))
    assert (fitted.fit_result.learned is not None) == learned
    assert fitted.networks[0].learned == fitted.fit_result.learned


@pytest.mark.parametrize("solver", ["adam", "lbfgs", LBFGS(3)], ids=str)
def test_a_solver_that_cannot_learn_them_is_refused(solver: Any, waves: Waves) -> None:
    message = "`weights` must be 'fixed' with this solver, got 'evidence' with (Adam|LBFGS).*solver='levenberg"
    with pytest.raises(InputError, match=message):
        replace(QUICK, solver=solver, weights="evidence").fit(waves())


def test_the_loss_is_that_of_the_configured_times_the_learned_weights(waves: Waves) -> None:
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
            "regularization": 0.5 * (np.array(learned.alpha)[groups] * fitted.theta**2).sum(),
        }
    )
    assert len(learned.alpha) == len(learned.determined) == len(names) == 4
    assert learned.effective_parameters == pytest.approx(sum(learned.determined))
    assert 0.0 < learned.effective_parameters <= len(fitted.theta)


def test_learned_noise_is_that_of_the_values(waves: Waves) -> None:
    fitted = JENN((6,), solver=LevenbergMarquardt(max_iterations=60), starts=1).fit(waves(60, noise=0.2))
    assert fitted.fit_result.learned is not None
    deviations = np.array(fitted.fit_result.learned.beta) ** -0.5 * fitted.scaling.output_scale
    np.testing.assert_allclose(deviations, 0.2, rtol=0.25)


def test_an_output_without_partials_is_learned_beside_one_with(waves: Waves) -> None:
    data = waves(40)
    half = replace(data, dydx=np.where([[True], [False]], data.partials, np.nan))
    fitted = JENN((8,), solver=LevenbergMarquardt(max_iterations=60), starts=1).fit(half)
    learned = fitted.fit_result.learned
    assert learned is not None and learned.gamma is not None
    assert learned.gamma[2:] == (Evidence().noise,) * 2 and min(learned.gamma[:2]) > 1e3
    assert np.sqrt(np.mean((fitted.predict(data.x) - data.y) ** 2)) < 0.05


def test_a_constant_input_is_switched_off(waves: Waves) -> None:
    data = waves()
    fitted = QUICK.fit(replace(data, x=np.where([True, False], data.x, 0.3)))
    learned = fitted.fit_result.learned
    assert learned is not None and learned.gamma is not None
    assert learned.alpha[1] > 100.0 * learned.alpha[0] and learned.determined[1] < 0.1
    assert not fitted.linearize(data.x)[1][:, :, 1].any()


def test_a_warm_start_continues_from_the_learned_weights(waves: Waves) -> None:
    data = waves()
    first = replace(QUICK, solver=LevenbergMarquardt(max_iterations=20)).fit(data)
    second = QUICK.fit(data, warm_start=first)
    assert second.fit_result.history[0] == pytest.approx(first.fit_result.start_losses[0], rel=1e-9)
    assert second.fit_result.start_losses[0] < first.fit_result.start_losses[0]
    assert second.fit_result.learned != first.fit_result.learned


def test_a_warm_start_with_fixed_weights_forgets_the_learned_ones(waves: Waves) -> None:
    data, first = waves(), QUICK.fit(waves())
    second = replace(QUICK, weights="fixed").fit(data, warm_start=first)
    assert second.fit_result.learned is None and second.networks[0].learned is None
    assert second.fit_result.total_loss == pytest.approx(second.fit_result.history[-1], rel=1e-9)
    third = QUICK.fit(data, warm_start=second)
    assert third.fit_result.learned is not None


def test_learning_continues_from_values_alone_to_partials(waves: Waves) -> None:
    data = waves()
    values = MLP((3,), solver=LM, starts=1).fit(data)
    assert values.fit_result.learned is not None and values.fit_result.learned.gamma is None
    both = QUICK.fit(data, warm_start=values).fit_result.learned
    assert both is not None and both.gamma is not None and len(both.gamma) == 4


@pytest.mark.parametrize("groups", ["each", "all"])
def test_a_refit_keeps_the_learned_weights(monkeypatch: pytest.MonkeyPatch, groups: str, waves: Waves) -> None:
    if groups == "all":
        monkeypatch.setattr("gradopt.training.residuals._GROUPS_MEMORY", 0)
    data = waves()
    first = replace(QUICK, beta=2.0).fit(data)
    second = first.refit(data, first.configuration.data_weights(data), None)
    assert first.fit_result.learned is not None and first.fit_result.learned.gamma is not None
    assert len(first.fit_result.learned.gamma) == (4 if groups == "each" else 2)
    assert second.fit_result.learned == first.fit_result.learned == second.networks[0].learned
    assert second.fit_result.history[0] == pytest.approx(first.fit_result.total_loss, rel=1e-9)
    assert second.fit_result.total_loss < first.fit_result.total_loss


def test_limits_of_the_solver_apply_to_learning(waves: Waves) -> None:
    configured, data = LevenbergMarquardt(max_iterations=7, time_limit=9.0, memory_limit=11), waves()
    scaling, problems = Scaling.of(data), []
    for configuration in (MLP(), JENN(), GradINN(gamma=0.0)):
        network = Network((data.d, 2, data.m))
        auxiliary = None if configuration.active_prior is None else np.zeros(0)
        trained, weights = (
            TrainedNetwork(network, np.zeros(network.n_parameters), auxiliary=auxiliary),
            configuration.data_weights(data),
        )
        problems.append(build_problem(configuration, trained, data, scaling, weights))
    for problem in problems:
        same = evidence_solver(configured, configured, problem)
        assert (same.max_iterations, same.time_limit, same.memory_limit) == (7, 9.0, 11)
    values, partials, prior = (evidence_solver("auto", configured, problem) for problem in problems)
    assert {each.memory_limit for each in (values, partials, prior)} == {11}
    assert values.max_iterations < partials.max_iterations == prior.max_iterations
    assert [each.keep_best for each in (values, partials, prior)] == [False, True, False]


def test_learning_leaves_the_gradient_mode_of_torch_unchanged(waves: Waves) -> None:
    assert torch.is_grad_enabled()
    QUICK.fit(waves())
    assert torch.is_grad_enabled()
