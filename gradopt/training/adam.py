"""Adam with mini-batches, the solver for large data."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from gradopt.errors import InputError, explain
from gradopt.training.monitor import Monitor
from gradopt.training.options import number, seconds, whole
from gradopt.training.problem import FitProblem
from gradopt.training.result import Callback, SolverResult, Status

_EPOCHS, _STEPS, _BATCH = 50, 5000, (32, 256)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015) with a one-cycle schedule (Smith & Topin 2017); every epoch uses every sample once.

    Attributes:
        epochs: Passes over the data; None makes at least 50 and as many as 5000 steps take.
        batch_size: Samples in a mini-batch; the last of an epoch may be smaller. None takes a sixteenth of the
            samples, within 32 and 256.
        learning_rate: Peak of the schedule, or the constant rate.
        schedule: "one_cycle" or "constant".
        validation_fraction: Share of the samples held out; the parameters with the best loss on them are kept.
            0 holds nothing out, and keeps those with the best training loss of an epoch.
        time_limit: Seconds at most, or None.
        seed: Seed of shuffling and validation split.
    """

    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float = 5e-3
    schedule: str = "one_cycle"
    validation_fraction: float = 0.0
    time_limit: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the fields."""
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None or name == "seed":
                object.__setattr__(self, name, whole(name, value, least))
        object.__setattr__(self, "learning_rate", number("learning_rate", self.learning_rate, positive=True))
        object.__setattr__(self, "time_limit", seconds("time_limit", self.time_limit))
        if self.schedule not in ("one_cycle", "constant"):
            raise InputError(
                explain("schedule", "be 'one_cycle' or 'constant'", repr(self.schedule), "See its docstring.")
            )
        if not (isinstance(self.validation_fraction, Real) and 0.0 <= self.validation_fraction < 1.0):
            raise InputError(explain("validation_fraction", "lie in [0, 1)", self.validation_fraction, "Try 0.1."))
        object.__setattr__(self, "validation_fraction", float(self.validation_fraction))

    def solve(self, problem: FitProblem, theta: Tensor, callback: Callback | None = None) -> SolverResult:
        """Minimize the loss.

        Args:
            problem: What is fitted.
            theta: Initial parameters (n_parameters,).
            callback: See `gradopt.training.result.Callback`; called once an epoch.

        Returns:
            The best parameters and how the run went.
        """
        monitor = Monitor(callback, self.time_limit)
        return monitor.run(lambda: self._iterate(problem, theta, monitor))

    def _iterate(self, problem: FitProblem, theta: Tensor, monitor: Monitor) -> Status:
        _, device = problem.tensor_options
        generator = np.random.default_rng(self.seed)
        order = generator.permutation(problem.n_samples)
        held = round(self.validation_fraction * problem.n_samples)
        if self.validation_fraction and not 0 < held < problem.n_samples:
            raise InputError(
                explain(
                    "validation_fraction",
                    "leave samples on both sides",
                    f"{held} of {problem.n_samples} held out",
                    "With so few samples use Levenberg-Marquardt without validation.",
                )
            )
        validation = torch.as_tensor(order[:held], device=device)
        training = order[held:]
        batch_size = self.batch_size or min(max(len(training) // 16, _BATCH[0]), _BATCH[1])
        batches = -(-len(training) // batch_size)
        epochs = self.epochs or max(_EPOCHS, -(-_STEPS // batches))
        parameters = theta.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([parameters], lr=self.learning_rate)
        schedule = None
        if self.schedule == "one_cycle":
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, epochs * batches)

        def judged_loss() -> float:
            return problem.loss_and_gradient(parameters.detach(), validation if held else None)[0]

        monitor.record(parameters.detach().clone(), judged_loss())
        for _ in range(epochs):
            generator.shuffle(training)
            for first in range(0, len(training), batch_size):
                batch = torch.as_tensor(training[first : first + batch_size], device=device)
                _, parameters.grad = problem.loss_and_gradient(parameters.detach(), batch)
                optimizer.step()
                if schedule:
                    schedule.step()
            monitor.record(parameters.detach().clone(), judged_loss())
        return Status.COMPLETED
