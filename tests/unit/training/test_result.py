"""Results have their numbers and survive JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from gradopt.training.result import FitResult, SolverResult, Status

RESULT = FitResult(
    status=Status.NO_PROGRESS,
    loss={"values": 1.0, "partials": 2.0, "regularization": 0.25},
    iterations=2,
    seconds=0.5,
    solver="LBFGS",
    seed=3,
    start=1,
    start_losses=(4.0, 3.25),
    log_evidence=(-2.0, -1.0),
    n_residuals=20,
    n_parameters=7,
    history=(9.0, 5.0, 3.25),
    notes=("Constant in the data, so held fixed with partials of 0: x.",),
)


@pytest.mark.parametrize("result", [RESULT, replace(RESULT, log_evidence=None, notes=())], ids=["full", "sparse"])
def test_result_survives_json(result: FitResult) -> None:
    assert FitResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_dictionary_names_the_status() -> None:
    assert RESULT.to_dict()["status"] == "NO_PROGRESS"


def test_building_from_a_dictionary_leaves_the_dictionary_alone() -> None:
    fields = RESULT.to_dict()
    FitResult.from_dict(fields)
    assert fields == RESULT.to_dict()


def test_total_loss_is_the_sum_of_the_parts() -> None:
    assert RESULT.total_loss == 3.25


@pytest.mark.parametrize(("history", "iterations"), [((), 0), ((5.0,), 0), ((5.0, 4.0, 3.0), 2)])
def test_iterations_do_not_count_the_initial_state(history: tuple[float, ...], iterations: int) -> None:
    assert SolverResult(torch.zeros(1), 3.0, Status.CONVERGED, history, 0.1).iterations == iterations


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (Status.ITERATION_LIMIT, "raise the solver's limit"),
        (Status.TIME_LIMIT, "Raise `time_limit`"),
        (Status.NO_PROGRESS, "try another `seed`"),
        (Status.NOT_FINITE, "Lower the learning rate"),
        (Status.STOPPED, "Continue with `warm_start`"),
        (Status.INTERRUPTED, "Continue with `warm_start`"),
    ],
)
def test_status_short_of_convergence_names_a_remedy(status: Status, remedy: str) -> None:
    assert remedy in status.value
