"""The wiring of a fit: data and configuration to a loss, a loss and starts to a solver, a solver to parameters."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling
from gradopt.data.variables import column_bounds, column_names
from gradopt.errors import InputError, explain
from gradopt.networks.mlp import Network
from gradopt.surrogates.protocol import Configuration
from gradopt.training.evidence import log_evidence
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import Callback, FitResult, SolverResult, Status
from gradopt.training.solvers import Solver, get_solver

logger = logging.getLogger("gradopt")

_ENDS_ALL = (Status.INTERRUPTED, Status.STOPPED, Status.TIME_LIMIT)  # no further start is made after one of these
_THREADED_WORK = 3e9  # multiplications of a Gauss-Newton matrix below which a second thread costs more than it brings


def check_trainable(data: Dataset) -> None:
    """Check what a fit needs beyond a valid dataset.

    Args:
        data: The training data.

    Raises:
        InputError: If there is one sample only, if the same point carries different values or partials, or if a
            column lies outside the bounds of its variable.
    """
    if data.n < 2:
        raise InputError(explain("data", "hold at least 2 samples", data.n, "One point does not tell a scale."))
    low, high = column_bounds(data.input_variables)
    outside = (data.x.max(axis=0) < low) | (data.x.min(axis=0) > high)
    if outside.any():
        column = int(np.flatnonzero(outside)[0])
        name = column_names(data.input_variables)[column]
        raise InputError(
            explain(
                "data.x",
                f"lie within the bounds [{low[column]:g}, {high[column]:g}] of its variable in column {name!r}",
                f"[{data.x[:, column].min():g}, {data.x[:, column].max():g}]",
                "Are its units and the order of the columns right?",
            )
        )
    size = np.abs(data.y).max(axis=0)
    steepest = np.nan_to_num(np.abs(data.partials)).max(axis=(0, 2))
    for rows in data.duplicates():
        known = data.known[rows].all(axis=0)
        slopes = np.ptp(np.where(known, data.partials[rows], 0.0), axis=0).max(axis=1)
        apart = (np.ptp(data.y[rows], axis=0) > 1e-9 * size) | (slopes > 1e-9 * steepest)
        if apart.any():
            output = column_names(data.output_variables)[int(np.flatnonzero(apart)[0])]
            raise InputError(
                explain(
                    "data",
                    "not hold different values or partials at the same point",
                    f"rows {rows.tolist()} with different {output!r}",
                    "If the model is noisy, average them: `data.merge_duplicates()`.",
                )
            )


def check_held(data: Dataset, scaling: Scaling) -> None:
    """Check that columns which an earlier fit held fixed do not vary now.

    Args:
        data: The new data.
        scaling: The scaling of the earlier fit, which is kept.

    Raises:
        InputError: If one does: in that scaling nothing could be learned of it.
    """
    gap = np.abs(scaling.transform_inputs(data.x) - scaling.input_mean).max(axis=0)
    moved = scaling.constant & (gap > 1e-9 * np.abs(scaling.input_mean))
    if moved.any():
        name = column_names(data.input_variables)[int(np.flatnonzero(moved)[0])]
        remedy = "Fit afresh, without `warm_start`."
        raise InputError(explain("data", f"hold column {name!r} fixed where the earlier fit did", "others", remedy))


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
    if theta is not None:
        initial = [theta]
    else:
        generators = np.random.default_rng(configuration.seed).spawn(configuration.starts)
        initial = [network.initialize(generator) for generator in generators]
    rows, columns = problem.n_residuals, problem.n_parameters
    judged = configuration.alpha > 0.0 and len(initial) > 1
    with _threads_for(rows * columns * min(rows, columns), torch.device(configuration.device)):
        runs, evidence = _run_starts(solver, problem, initial, judged, callback)
    judge = len(evidence) == len(runs) and bool(np.isfinite(evidence).all())
    losses = [run.loss if np.isfinite(run.loss) else np.inf for run in runs]
    kept = int(np.argmax(evidence)) if judge else int(np.argmin(losses))
    best = runs[kept]
    status = runs[-1].status if runs[-1].status in _ENDS_ALL else best.status
    notes = _notes(data, scaling)
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
        notes=notes,
    )
    logger.debug("fit: %s after %d iterations, loss %.3e", status.name, best.iterations, result.total_loss)
    return best.theta.detach().to("cpu", torch.float64).numpy().copy(), result


def _numbered(callback: Callback | None, start: int) -> Callback | None:
    """The callback, told which start is running."""
    if callback is None:
        return None
    return lambda progress: callback(replace(progress, start=start))


def _run_starts(
    solver: Solver, problem: NetworkProblem, initial: list[np.ndarray], judged: bool, callback: Callback | None
) -> tuple[list[SolverResult], list[float]]:
    """Run the solver from each start until one run ends them all; where asked, and after LM, the evidence of each."""
    dtype, device = problem.tensor_options
    runs: list[SolverResult] = []
    evidence: list[float] = []
    limit, started = solver.time_limit, time.perf_counter()
    try:
        for index, start in enumerate(initial):
            if limit is not None and runs:
                left = max(limit - (time.perf_counter() - started), 0.0)
                solver = replace(solver, time_limit=left)  # type: ignore[type-var]
            theta = torch.tensor(start, dtype=dtype, device=device)
            runs.append(solver.solve(problem, theta, _numbered(callback, index)))
            if judged and isinstance(solver, LevenbergMarquardt):
                evidence.append(log_evidence(problem, runs[-1].theta, solver.memory_limit))
            if runs[-1].status in _ENDS_ALL:
                break
    except KeyboardInterrupt:
        if not runs:
            raise
        runs[-1] = replace(runs[-1], status=Status.INTERRUPTED)
    return runs, evidence


def _notes(data: Dataset, scaling: Scaling) -> tuple[str, ...]:
    """What the user ought to know: inputs held fixed, and declared ranges that the data hardly cover."""
    names = np.array(column_names(data.input_variables))
    low, high = column_bounds(data.input_variables)
    covered = np.ptp(data.x, axis=0)
    wide = np.isfinite(high - low) & ~scaling.constant & (covered < 0.5 * (high - low))
    notes = []
    if wide.any():
        notes.append(f"The data cover less than half of the declared range of {', '.join(names[wide])}.")
    if scaling.constant.any():
        fixed = ", ".join(names[scaling.constant])
        notes.append(f"Constant in the data, so held fixed with zero partials: {fixed}.")
    return tuple(notes)


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
