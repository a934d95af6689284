"""Adam: each epoch uses each sample once, the best parameters are kept, runs are reproducible."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from gradopt.errors import InputError
from gradopt.training.adam import Adam
from gradopt.training.problem import FitProblem
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import Callback, Status

Taught = Callable[..., tuple[NetworkProblem, Tensor]]


@dataclass(frozen=True, eq=False)
class Spy(NetworkProblem):
    """A problem that records the samples of each loss, None for all."""

    recorded: list[list[int] | None] = field(default_factory=list)

    def loss_and_gradient(self, theta: Tensor, samples: Tensor | None = None) -> tuple[float, Tensor]:
        self.recorded.append(None if samples is None else samples.tolist())
        return super().loss_and_gradient(theta, samples)


def spied(solver: Adam, made: tuple[NetworkProblem, Tensor]) -> list[list[int] | None]:
    """Solve; return the recorded samples: a check, then an epoch and a check in turn."""
    problem, teacher = made
    spy = Spy(problem.network, problem.x, problem.targets, problem.weights, problem.alpha)
    solver.solve(spy, torch.zeros_like(teacher))
    return spy.recorded


def epochs(recorded: list[list[int] | None], per_epoch: int) -> list[list[list[int]]]:
    """Extract the batches of each epoch."""
    starts = range(1, len(recorded), per_epoch + 1)
    return [[batch for batch in recorded[start : start + per_epoch] if batch is not None] for start in starts]


def test_every_sample_is_used_once_an_epoch_including_the_partial_batch(taught: Taught) -> None:
    made = epochs(spied(Adam(epochs=3, batch_size=4), taught(samples=10)), 3)
    assert [[len(batch) for batch in epoch] for epoch in made] == [[4, 4, 2]] * 3
    assert [sorted(sum(epoch, [])) for epoch in made] == [list(range(10))] * 3


@pytest.mark.parametrize(("samples", "sizes"), [(512, [512]), (600, [300, 300]), (1100, [367, 367, 366])])
def test_samples_are_divided_evenly_into_batches(taught: Taught, samples: int, sizes: list[int]) -> None:
    (made,) = epochs(spied(Adam(epochs=1), taught(samples=samples)), len(sizes))
    assert [len(batch) for batch in made] == sizes


@pytest.mark.parametrize(("solver", "steps"), [(Adam(), 6000), (Adam(batch_size=1), 40 * 160)], ids=["few", "many"])
def test_epochs_make_enough_steps_of_few_samples_and_passes_over_many(taught: Taught, solver: Adam, steps: int) -> None:
    made: list[int] = []
    problem, teacher = taught(samples=160)

    def loss_and_gradient(theta: Tensor, samples: Tensor | None = None) -> tuple[float, Tensor]:
        made.append(0 if samples is None else 1)
        return 1.0, theta

    blank = SimpleNamespace(n_samples=160, tensor_options=problem.tensor_options, loss_and_gradient=loss_and_gradient)
    solver.solve(cast(FitProblem, blank), teacher)
    assert sum(made) == steps


def test_a_long_run_has_about_twenty_checks_and_one_at_its_end(taught: Taught) -> None:
    recorded = spied(Adam(epochs=50, batch_size=10), taught(samples=10))
    assert [step for step, batch in enumerate(recorded) if batch is None] == [4 * k for k in range(17)] + [67]


def test_epochs_shuffle_differently(taught: Taught) -> None:
    first, second, third = epochs(spied(Adam(epochs=3, batch_size=4), taught(samples=10)), 3)
    assert first != second != third != first


def test_checks_use_the_full_loss_where_nothing_is_held_out(taught: Taught) -> None:
    assert spied(Adam(epochs=3, batch_size=10), taught(samples=10))[::2] == [None] * 4


def test_held_out_samples_are_used_in_checks_alone(taught: Taught) -> None:
    recorded = spied(Adam(epochs=3, batch_size=4, validation_fraction=0.3), taught(samples=10))
    held, *later = recorded[::3]
    assert held is not None and len(held) == 3
    assert later == [held] * 3
    assert [sorted(sum(epoch, held)) for epoch in epochs(recorded, 2)] == [list(range(10))] * 3


@pytest.mark.parametrize("validation_fraction", [0.0, 0.3])
def test_best_weights_are_restored(taught: Taught, validation_fraction: float) -> None:
    problem, teacher = taught(noise=0.5)
    solver = Adam(30, 4, learning_rate=0.3, schedule="constant", validation_fraction=validation_fraction)
    result = solver.solve(problem, torch.zeros_like(teacher))
    held = spied(solver, (problem, teacher))[0]
    samples = None if held is None else torch.tensor(held)
    assert result.loss == min(result.history) < result.history[-1]
    assert problem.loss_and_gradient(result.theta, samples)[0] == result.loss


def test_loss_of_the_batches_reaches_the_optimizer(taught: Taught) -> None:
    """One step of Adam moves each parameter by the learning rate against its gradient."""
    problem, teacher = taught(noise=0.5)
    start = teacher + 0.1
    result = Adam(1, 100, learning_rate=1e-4, schedule="constant").solve(problem, start)
    expected = start - 1e-4 * problem.loss_and_gradient(start)[1].sign()
    torch.testing.assert_close(result.theta, expected, rtol=0.0, atol=1e-9)


def test_steps_are_those_of_torch(taught: Taught) -> None:
    problem, teacher = taught(noise=0.5)
    parameters = (teacher + 0.1).requires_grad_()
    optimizer = torch.optim.Adam([parameters], lr=1e-2, betas=(0.9, 0.99), eps=1e-8)
    for _ in range(4):
        _, parameters.grad = problem.loss_and_gradient(parameters)
        optimizer.step()
    result = Adam(4, 100, learning_rate=1e-2, schedule="constant").solve(problem, teacher + 0.1)
    torch.testing.assert_close(result.theta, parameters.detach(), rtol=1e-12, atol=0.0)


def stop_at(iteration: int) -> Callback:
    return lambda progress: progress.iteration == iteration


def test_rate_rises_to_its_peak_and_falls_to_zero(taught: Taught) -> None:
    """With a slope that hardly changes, each step of Adam is as long as the rate."""
    problem, teacher = taught(noise=0.5)
    start, rate = teacher + 0.1, 1e-9
    thetas = [start]
    for last in range(1, 21):
        thetas.append(Adam(20, 100, rate).solve(problem, start, stop_at(last)).theta)
    heard = [float((b - a).abs().max()) / rate for a, b in zip(thetas, thetas[1:], strict=False)]
    expected = [
        0.5 * (1.0 - math.cos(math.pi * (t / 0.3 if t < 0.3 else (1.0 - t) / 0.7))) for t in (np.arange(20) + 0.5) / 20
    ]
    assert heard == pytest.approx(expected, abs=1e-3)


def test_same_seed_gives_the_same_run(taught: Taught) -> None:
    problem, teacher = taught(noise=0.5)
    solver = Adam(epochs=5, batch_size=4, validation_fraction=0.2, seed=7)
    first, second = (solver.solve(problem, teacher + 0.3) for _ in range(2))
    assert torch.equal(first.theta, second.theta)
    assert first.history == second.history


@pytest.mark.parametrize(
    "other",
    [
        {"epochs": 9},
        {"batch_size": 5},
        {"learning_rate": 1e-3},
        {"schedule": "constant"},
        {"validation_fraction": 0.3},
        {"time_limit": 0.0},
        {"seed": 1},
    ],
    ids=lambda other: next(iter(other)),
)
def test_option_changes_the_result(taught: Taught, other: dict[str, Any]) -> None:
    problem, teacher = taught(noise=0.5)
    solver = Adam(epochs=5, batch_size=4)
    usual, changed = (s.solve(problem, teacher + 0.3) for s in (solver, replace(solver, **other)))
    assert changed.history != usual.history


def test_every_epoch_is_made_and_reported(taught: Taught) -> None:
    problem, teacher = taught()
    result = Adam(epochs=6).solve(problem, teacher + 0.3)
    assert (result.status, result.iterations) == (Status.COMPLETED, 6)


@pytest.mark.parametrize(("samples", "number"), [(1, 1), (2, 1), (5, 2)])
def test_shortest_runs_fit_the_schedule(taught: Taught, samples: int, number: int) -> None:
    problem, teacher = taught(samples=samples)
    assert Adam(epochs=number, batch_size=4).solve(problem, teacher + 0.3).iterations == number


def test_loss_that_turns_not_finite_ends_the_run_with_the_best_finite_state(taught: Taught) -> None:
    problem, teacher = taught()
    result = Adam(learning_rate=1e200, schedule="constant").solve(problem, teacher + 0.3)
    assert result.status is Status.NOT_FINITE
    assert torch.equal(result.theta, teacher + 0.3)
    assert result.loss == result.history[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "`epochs` must be a whole number of at least 1, got 0"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1, got 0"),
        ({"epochs": 2.5}, "`epochs` must be a whole number of at least 1, got 2.5"),
        ({"batch_size": "8"}, "`batch_size` must be a whole number of at least 1, got '8'"),
        ({"seed": -1}, "`seed` must be a whole number of at least 0, got -1"),
        ({"seed": 1.5}, "`seed` must be a whole number of at least 0, got 1.5"),
        ({"learning_rate": 0.0}, "`learning_rate` must be finite and positive, got 0.0"),
        ({"learning_rate": -1.0}, "`learning_rate` must be finite and positive, got -1.0"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be finite and positive, got nan"),
        ({"learning_rate": "fast"}, "`learning_rate` must be finite and positive, got fast"),
        ({"time_limit": -1.0}, "`time_limit` must be None or a number of seconds, got -1.0"),
        ({"time_limit": "long"}, "`time_limit` must be None or a number of seconds, got long"),
        ({"schedule": "cosine"}, "`schedule` must be 'one_cycle' or 'constant', got 'cosine'"),
        ({"validation_fraction": 1.0}, r"`validation_fraction` must lie in \[0, 1\), got 1.0"),
        ({"validation_fraction": "some"}, r"`validation_fraction` must lie in \[0, 1\), got some"),
        ({"validation_fraction": float("nan")}, r"`validation_fraction` must lie in \[0, 1\), got nan"),
        ({"validation_fraction": -0.1}, r"`validation_fraction` must lie in \[0, 1\), got -0.1"),
    ],
)
def test_impossible_option_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Adam(**fields)


@pytest.mark.parametrize("schedule", ["one_cycle", "constant"])
def test_validation_split_without_training_samples_is_refused(taught: Taught, schedule: str) -> None:
    problem, teacher = taught(samples=4)
    with pytest.raises(InputError, match="`validation_fraction` must"):
        Adam(validation_fraction=0.9, schedule=schedule).solve(problem, teacher)
