"""The race to jenn's loss: both have the same loss, and what never gets there counts as infinitely slow."""

import numpy as np
import pytest
import torch

from gradopt.networks.mlp import Network
from gradopt.solvers import LevenbergMarquardt
from scripts.shared.benchmark_problems import PROBLEMS
from scripts.surrogates.time_to_loss import SOLVERS, STARTS, Run, build, ratios, train_jenn, train_ours

DATA = PROBLEMS["branin"].sample(12, 0)
NETWORK = Network((2, 4, 1))


def test_build_penalizes_weights_and_no_bias() -> None:
    theta = torch.tensor(NETWORK.initialize(np.random.default_rng(0)))
    plain, penalized = (build(NETWORK, DATA, penalty).terms(theta) for penalty in (0.0, 0.5))
    squares = sum(float((weights**2).sum()) for weights, _ in NETWORK.unpack(theta))
    assert plain["regularization"] == 0.0 and penalized["regularization"] == pytest.approx(0.25 * squares)
    assert plain["partials"] == penalized["partials"] > 0.0


@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_train_jenn_has_the_same_loss(penalty: float) -> None:
    run = train_jenn(build(NETWORK, DATA, penalty), DATA, penalty, 0, 1e-2, 20)
    assert len(run.losses) == 20 and run.losses[-1] < run.losses[0] and run.setting == 1e-2
    assert (np.diff(run.seconds, axis=0) > 0.0).all()


def test_train_jenn_finds_that_the_losses_differ() -> None:
    with pytest.raises(AssertionError, match="losses differ, .* they are not the same problem"):
        train_jenn(build(NETWORK, DATA, 0.2), DATA, 0.1, 0, 1e-2, 5)


def test_train_ours_ends_where_the_aim_is_reached_or_after_all_starts() -> None:
    solver = LevenbergMarquardt(max_iterations=5)
    reached = train_ours(NETWORK, DATA, 0.0, 0, solver, 1e6)
    assert len(reached.losses) == 1 and reached.setting == 1
    missed = train_ours(NETWORK, DATA, 0.0, 0, solver, 0.0)
    assert len(missed.losses) == 5 * STARTS and missed.setting == STARTS


def test_run_tells_when_a_loss_was_first_reached() -> None:
    run = Run(np.array([3.0, 1.0, 2.0, 0.5]), np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [4.0, 8.0]]), 0.1)
    assert run.first(2.0).tolist() == [2.0, 4.0] and run.first(0.4).tolist() == [np.inf, np.inf]
    assert run.lowest(3) == 1.0 and run.lowest(4) == 0.5


def test_ratios_count_what_was_missed() -> None:
    name = next(iter(SOLVERS))
    seeds = [{7: {name: {"ratio_cpu": value, "ratio_wall": value}}} for value in (0.01, 0.2, np.inf)]
    found = ratios([{"seeds": seeds}], name, 7)
    assert found["cpu"] == {"median": 0.2, "largest": np.inf, "within": 1}
    assert found["runs"] == 3 and found["missed"] == 1
