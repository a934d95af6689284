"""The wiring of a fit: data and configuration to a loss, a loss and starts to a solver, a solver to parameters."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling
from gradopt.data.variables import column_names
from gradopt.errors import InputError, explain
from gradopt.networks.mlp import Network
from gradopt.surrogates.protocol import Configuration
from gradopt.training.evidence import log_evidence
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import Callback, FitResult, SolverResult, Status
from gradopt.training.solvers import get_solver

logger = logging.getLogger("gradopt")

_THREADED_WORK = 3e9  # multiplications of a Gauss-Newton matrix below which a second thread costs more than it brings


def check_trainable(data: Dataset) -> None:
    """Check what a fit needs beyond a valid dataset.

    Args:
        data: The training data.

    Raises:
        InputError: If there is one sample only, or the same point carries different values.
    """
    if data.n < 2:
        raise InputError(explain("data", "hold at least 2 samples", data.n, "One point does not tell a scale."))
    spread = np.maximum(np.ptp(data.y, axis=0), np.abs(data.y).max(axis=0))
    for rows in data.duplicates():
        apart = np.ptp(data.y[rows], axis=0) > 1e-9 * spread
        if apart.any():
            output = column_names(data.output_variables)[int(np.flatnonzero(apart)[0])]
            raise InputError(
                explain(
                    "data",
                    "not hold different values at the same point",
                    f"rows {rows.tolist()} with different {output!r}",
                    "If the model is noisy, average them: `data.merge_duplicates()`.",
                )
            )


def fit_network(
    configuration: Configuration,
    network: Network,
    data: Dataset,
    scaling: Scaling,
    weights: tuple[np.ndarray, np.ndarray],
    theta: np.ndarray | None,
    callback: Callback | None,
) -> tuple[np.ndarray, FitResult]:
    """Train a network.

    Args:
        configuration: Settings of the fit.
        network: Shape of the network.
        data: The training data, checked.
        scaling: Standardization to train in.
        weights: beta (n, m) and gamma (n, m, d), gamma 0 where the partial is not known.
        theta: Parameters to continue from (n_parameters,), or None for `configuration.starts` initializations.
        callback: See `gradopt.training.result.Callback`.

    Returns:
        The parameters (n_parameters,) of the best start, and how the fit went. Of several starts the one with the
        highest evidence is kept (Levenberg-Marquardt, alpha > 0), otherwise the one with the lowest loss.
    """
    beta, gamma = weights
    gamma = np.where(scaling.constant, 0.0, gamma)  # a column held fixed has no partial to fit
    problem = NetworkProblem.build(
        network,
        scaling.scale_inputs(data.x),
        scaling.scale_outputs(data.y),
        scaling.scale_partials(data.x, data.y, data.partials),
        beta,
        gamma,
        configuration.alpha,
        getattr(torch, configuration.dtype),
        configuration.device,
    )
    if not problem.n_residuals:
        raise InputError(explain("beta", "leave at least one positive weight", "all zero", "Weights of 1 are usual."))
    solver = get_solver(configuration.solver, problem)
    dtype, device = problem.tensor_options
    if theta is not None:
        initial = [theta]
    else:
        generators = np.random.default_rng(configuration.seed).spawn(configuration.starts)
        initial = [network.initialize(generator) for generator in generators]
    runs: list[SolverResult] = []
    evidence: list[float] = []
    rows, columns = problem.n_residuals, problem.n_parameters
    judge = isinstance(solver, LevenbergMarquardt) and configuration.alpha > 0.0 and len(initial) > 1
    interrupted = False
    with _threads_for(rows * columns * min(rows, columns), device):
        try:
            for start in initial:
                run = solver.solve(problem, torch.tensor(start, dtype=dtype, device=device), callback)
                runs.append(run)
                if judge:
                    evidence.append(log_evidence(problem, run.theta))
                if run.status in (Status.INTERRUPTED, Status.STOPPED):
                    break
        except KeyboardInterrupt:
            if not runs:
                raise
            interrupted = True
    losses = [run.loss if np.isfinite(run.loss) else np.inf for run in runs]
    judge = judge and len(evidence) == len(runs)
    kept = int(np.argmax(evidence)) if judge else int(np.argmin(losses))
    best = runs[kept]
    interrupted = interrupted or runs[-1].status is Status.INTERRUPTED
    status = Status.INTERRUPTED if interrupted else best.status
    notes = []
    if scaling.constant.any():
        names = [column_names(data.input_variables)[j] for j in np.flatnonzero(scaling.constant)]
        notes.append(f"Constant in the data, so held fixed with zero partials: {', '.join(names)}.")
    for note in notes:
        logger.warning(note)
    result = FitResult(
        status=status,
        loss=problem.terms(best.theta),
        iterations=best.iterations,
        seconds=sum(run.seconds for run in runs),
        solver=type(solver).__name__,
        seed=configuration.seed,
        start=kept,
        start_losses=tuple(run.loss for run in runs),
        log_evidence=tuple(evidence) if judge else None,
        n_residuals=rows,
        n_parameters=columns,
        history=best.history,
        notes=tuple(notes),
    )
    logger.debug("fit: %s after %d iterations, loss %.3e", status.name, best.iterations, result.total_loss)
    return best.theta.detach().to("cpu", torch.float64).numpy().copy(), result


@contextmanager
def _threads_for(work: float, device: torch.device) -> Iterator[None]:
    """Use one thread for small problems: waking a second costs more than the work, most of all on a busy machine."""
    if work >= _THREADED_WORK or device.type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
