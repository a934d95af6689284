"""A fit: from data and configuration to a loss, then by starts and a solver to trained networks."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling
from gradopt.errors import InputError, explain
from gradopt.networks.forks import use_one_thread_after_fork
from gradopt.networks.mlp import Network
from gradopt.surrogates.configurations.protocol import Configuration
from gradopt.surrogates.fitting.starts import ENDS_ALL, Start, fixed_weights, learned_weights, numbered
from gradopt.surrogates.fitting.trained_network import TrainedNetwork, averaging_shares
from gradopt.surrogates.fitting.training_data import notes_on_data
from gradopt.surrogates.gradinn.collocation import add_prior
from gradopt.surrogates.gradinn.loss import SurrogateProblem
from gradopt.surrogates.gradinn.priors import Prior
from gradopt.training.adam import Adam
from gradopt.training.evidence import Evidence, EvidenceResult, Precisions
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import Callback, FitResult, LearnedWeights, SolverResult, Status
from gradopt.training.solvers import Solver, get_solver

logger = logging.getLogger("gradopt")

# Constants chosen by hand.
_LONG, _SHORT = 400, 150  # default iterations of a fit with partials or a prior on the gradient, and of values alone
_FIXED_ALPHA = 1e-8  # default alpha of fixed weights; suits data without noise
# Work below which a second thread costs more time than it saves.
_THREADED_WORK = 3e9  # multiplications for a Gauss-Newton matrix, with Levenberg-Marquardt
_THREADED_PARAMETERS = 30_000  # number of parameters, with other solvers


def fit_networks(
    configuration: Configuration,
    shapes: Sequence[Network],
    data: Dataset,
    scaling: Scaling,
    weights: tuple[np.ndarray, np.ndarray],
    callback: Callback | None,
    prior: Prior | None,
) -> tuple[tuple[TrainedNetwork, ...], FitResult]:
    """Train from new initializations.

    Args:
        configuration: Settings of the fit.
        shapes: Shape of the network of each start.
        data: The training data, checked.
        scaling: Standardization to train in.
        weights: Weights beta (n, m) and gamma (n, m, d), gamma 0 where the partial is not known.
        callback: See `gradopt.training.result.Callback`.
        prior: Prior on the gradient; None to fit without one.

    Returns:
        The networks to average, the best first, and the outcome of the best. Where the weights are learned, these are
        the networks of nearly the highest evidence; otherwise one network, that of the highest evidence
        (Levenberg-Marquardt, alpha > 0) or of the lowest loss.
    """
    generators = np.random.default_rng(configuration.seed).spawn(len(shapes))
    begun = [
        TrainedNetwork(network, network.initialize(generator), auxiliary=_auxiliary(prior, data, generator))
        for network, generator in zip(shapes, generators, strict=True)
    ]
    return _train(configuration, begun, data, scaling, weights, callback, keep=False)


def _auxiliary(prior: Prior | None, data: Dataset, generator: np.random.Generator) -> np.ndarray | None:
    return None if prior is None else prior.initialize(data.d, data.m, generator)


def with_fresh_prior(
    configuration: Configuration, networks: Sequence[TrainedNetwork], data: Dataset
) -> tuple[TrainedNetwork, ...]:
    """Give networks new auxiliary parameters for the prior of the configuration, and forget their learned weights."""
    generator = np.random.default_rng(configuration.seed)
    fresh = _auxiliary(configuration.active_prior, data, generator)
    return tuple(replace(trained, auxiliary=fresh, learned=None) for trained in networks)


def continue_networks(
    configuration: Configuration,
    networks: Sequence[TrainedNetwork],
    data: Dataset,
    scaling: Scaling,
    weights: tuple[np.ndarray, np.ndarray],
    callback: Callback | None,
    keep: bool,
) -> tuple[tuple[TrainedNetwork, ...], FitResult]:
    """Continue the training of each of some networks in turn.

    Args:
        configuration: Settings of the fit; the time limit of the solver is that of all networks together.
        networks: The networks with their parameters and learned weights.
        data: The training data, checked.
        scaling: Standardization to train in.
        weights: Weights beta (n, m) and gamma (n, m, d), gamma 0 where the partial is not known.
        callback: See `gradopt.training.result.Callback`; `Progress.start` is the number of the network.
        keep: Whether learned weights stay fixed; otherwise learning continues from them.

    Returns:
        The networks with new parameters and their old shares, and the outcome of the first network, with the seconds of
        all. After an interruption, a stop or the time limit the remaining networks are unchanged, and the status is
        that of the last run.
    """
    use_one_thread_after_fork()
    continued, results = list(networks), list[FitResult]()
    limit, started = getattr(configuration.solver, "time_limit", None), time.perf_counter()
    for index, trained in enumerate(networks):
        left = None if limit is None else max(limit - (time.perf_counter() - started), 0.0)
        numbered_callback = numbered(callback, index)
        try:
            (found,), result = _train(configuration, [trained], data, scaling, weights, numbered_callback, keep, left)
        except KeyboardInterrupt:
            if not results:
                raise
            results[-1] = replace(results[-1], status=Status.INTERRUPTED)
            break
        continued[index] = replace(found, share=trained.share)
        results.append(result)
        if result.status in ENDS_ALL:
            break
    seconds = sum(result.seconds for result in results)
    status = results[-1].status if results[-1].status in ENDS_ALL else results[0].status
    return tuple(continued), replace(results[0], seconds=seconds, status=status)


def _train(
    configuration: Configuration,
    begun: Sequence[TrainedNetwork],
    data: Dataset,
    scaling: Scaling,
    weights: tuple[np.ndarray, np.ndarray],
    callback: Callback | None,
    keep: bool,
    time_limit: float | None = None,
) -> tuple[tuple[TrainedNetwork, ...], FitResult]:
    def problem_of(trained: TrainedNetwork) -> SurrogateProblem:
        return build_problem(configuration, trained, data, scaling, weights)

    keep = keep and begun[0].learned is not None
    starts = [
        Start(problem_of(trained if keep else replace(trained, learned=None)), trained.parameters) for trained in begun
    ]
    problem = starts[0].problem
    if not problem.n_residuals:
        got = "0 for all values and known partials"
        raise InputError(explain("beta", "have at least one positive entry", got, "Weights of 1 are usual."))
    solver = get_solver(configuration.solver, problem)
    if time_limit is not None:
        solver = replace(solver, time_limit=time_limit)  # type: ignore[type-var]
    runs: Sequence[SolverResult]
    with _threads_for(solver, problem):
        if not keep and learns_weights(configuration, solver, problem):
            assert isinstance(solver, LevenbergMarquardt), "checked by `learns_weights`"
            begin = None if begun[0].learned is None else to_precisions(begun[0].learned, problem)
            evident = evidence_solver(configuration.solver, solver, problem)
            of_evidence = learned_weights(evident, starts, callback, begin)
            runs, evidence = of_evidence, [-run.loss for run in of_evidence]
        else:
            with_evidence = bool((problem.alpha > 0.0).all()) and len(starts) > 1
            runs, evidence = fixed_weights(solver, starts, with_evidence, callback)
    judge = len(evidence) == len(runs) and bool(np.isfinite(evidence).all())
    order = np.argsort([-value for value in evidence] if judge else [_order(run.loss) for run in runs], kind="stable")
    order = order[_to_the_end(runs)[order]]
    ended = [_member(runs[index], begun[index], keep, starts[index].problem) for index in order]
    networks = _averaged(ended, [runs[index] for index in order])
    kept = int(order[0])
    best = runs[kept]
    whole = problem_of(networks[0])
    prior = whole.prior_result(best.theta)
    result = FitResult(
        status=next((run.status for run in runs if run.status in ENDS_ALL), best.status),
        loss=whole.terms(best.theta),
        iterations=best.iterations,
        seconds=sum(run.seconds for run in runs),
        solver=type(solver).__name__,
        seed=configuration.seed,
        start=kept,
        start_losses=tuple(run.loss for run in runs),
        log_evidence=tuple(evidence) if judge else None,
        n_residuals=problem.n_residuals,
        n_parameters=starts[kept].problem.n_parameters,
        history=best.history,
        notes=notes_on_data(data, scaling) + (prior.notes(networks[0].learned is not None) if prior else ()),
        learned=networks[0].learned,
        prior=prior,
    )
    logger.debug("fit: %s after %d iterations, loss %.3e", result.status.name, best.iterations, result.total_loss)
    return networks, result


def _to_the_end(runs: Sequence[SolverResult]) -> np.ndarray:
    """Return which runs were trained to their end, not dropped in favor of better ones (n_runs,), booleans."""
    longest = max(run.iterations for run in runs)
    return np.array([run.status is not Status.ITERATION_LIMIT or run.iterations == longest for run in runs])


def _order(loss: float) -> float:
    """Return the key by which runs are sorted: a loss that is not finite comes last."""
    return loss if np.isfinite(loss) else np.inf


def _member(run: SolverResult, begun: TrainedNetwork, keep: bool, problem: SurrogateProblem) -> TrainedNetwork:
    learned = begun.learned if keep else None
    if isinstance(run, EvidenceResult):
        learned = _to_learned_weights(run, problem)
    parameters = run.theta.detach().to("cpu", torch.float64).numpy()
    theta, auxiliary = np.split(parameters, [len(begun.theta)])
    return TrainedNetwork(
        begun.network, theta, learned=learned, auxiliary=None if begun.auxiliary is None else auxiliary
    )


def _averaged(networks: list[TrainedNetwork], runs: list[SolverResult]) -> tuple[TrainedNetwork, ...]:
    """Return the networks to average with their shares, the best first; the best alone if the weights are fixed."""
    if not (isinstance(runs[0], EvidenceResult) and np.isfinite(runs[0].loss)):
        return (networks[0],)
    shares = averaging_shares([run.loss for run in runs])
    return tuple(replace(trained, share=float(share)) for trained, share in zip(networks, shares, strict=True) if share)


def build_problem(
    configuration: Configuration,
    trained: TrainedNetwork,
    data: Dataset,
    scaling: Scaling,
    weights: tuple[np.ndarray, np.ndarray],
) -> SurrogateProblem:
    """Build the loss of a network on some data, with its learned weights and its prior on the gradient, if any."""
    network, learned, prior = trained.network, trained.learned, configuration.active_prior
    beta, gamma = weights
    gamma = np.where(scaling.constant, 0.0, gamma)  # no partial is fitted for a column held fixed
    alpha: float | np.ndarray = _FIXED_ALPHA if configuration.alpha is None else configuration.alpha
    if learned is not None:
        alpha = np.array(learned.alpha)[network.parameter_groups[0]]  # the alpha of an auxiliary network follow
        beta = beta * np.array(learned.beta)
        gamma = gamma * np.array(learned.gamma or learned.beta).reshape(data.m, -1)
    problem = NetworkProblem.build(
        network,
        scaling.scale_inputs(data.x),
        scaling.scale_outputs(data.y),
        scaling.scale_partials(data.x, data.y, data.partials),
        beta,
        gamma,
        alpha,
        getattr(torch, configuration.dtype),
        configuration.device,
    )
    if prior is None or trained.auxiliary is None:
        return problem
    return add_prior(configuration, prior, problem, data, scaling, learned)


def usual_starts(configuration: Configuration, network: Network, data: Dataset) -> tuple[bool, int]:
    """Return whether the solver is Levenberg-Marquardt, as for few samples, and the default number of starts.

    Args:
        configuration: Settings of the fit.
        network: Shape of a network.
        data: The training data.

    Returns:
        Whether the solver is Levenberg-Marquardt, and the number of starts: where weights are learned 16 with partials
        and 8 without; 1 with Adam; otherwise 4.
    """
    auxiliary = _auxiliary(configuration.active_prior, data, np.random.default_rng(configuration.seed))
    trained = TrainedNetwork(network, np.empty(0), auxiliary=auxiliary)
    problem = build_problem(configuration, trained, data, Scaling.of(data), configuration.data_weights(data))
    solver = get_solver(configuration.solver, problem)
    if isinstance(solver, LevenbergMarquardt):
        return True, (16 if problem.data.has_partials else 8) if learns_weights(configuration, solver, problem) else 4
    return False, 1 if isinstance(solver, Adam) else 4


def learns_weights(configuration: Configuration, solver: Solver, problem: SurrogateProblem) -> bool:
    """Return whether a fit learns its weights.

    It does with weights="evidence". With "auto" it does if the solver is Levenberg-Marquardt, `alpha` is None, and the
    matrices of all groups of residuals take at most half of the solver's memory limit.
    """
    if configuration.weights == "auto":
        matrices = 8 * len(problem.residual_pools) * problem.n_parameters**2
        few = isinstance(solver, LevenbergMarquardt) and matrices <= solver.memory_limit / 2
        return few and configuration.alpha is None
    if configuration.weights == "evidence" and not isinstance(solver, LevenbergMarquardt):
        remedy = "Use solver='levenberg_marquardt', or weights='fixed' for a problem of this size."
        raise InputError(explain("weights", "be 'fixed' with this solver", f"'evidence' with {solver}", remedy))
    return configuration.weights == "evidence"


def evidence_solver(configured: str | Solver, solver: LevenbergMarquardt, problem: SurrogateProblem) -> Evidence:
    """Return the solver that learns the weights, with the limits of the configured solver.

    The default number of iterations is higher with partials or a prior on the gradient, where more iterations lower the
    test errors. Fits of values alone do not improve by them.
    """
    partials, limit = problem.data.has_partials, solver.memory_limit
    if isinstance(configured, str):
        iterations = _LONG if problem.uses_gradients else _SHORT
        return Evidence(iterations, memory_limit=limit, keep_best=partials)
    return Evidence(solver.max_iterations, solver.time_limit, memory_limit=limit, keep_best=partials)


def to_precisions(learned: LearnedWeights, problem: SurrogateProblem) -> Precisions:
    """Convert learned weights to the precisions of a solver."""
    noise = list(learned.beta)
    if problem.data.has_partials:
        gamma = np.array(learned.gamma or learned.beta).reshape(len(noise), -1)
        each = int((~problem.prior_groups).sum()) // len(noise) - 1
        noise += np.broadcast_to(gamma, (len(noise), each)).ravel().tolist()
    noise += learned.omega or ()
    _, device = problem.tensor_options
    alpha = torch.tensor(learned.alpha, dtype=torch.float64, device=device)
    return Precisions(alpha, torch.tensor(noise, dtype=torch.float64, device=device))


def _to_learned_weights(run: EvidenceResult, problem: SurrogateProblem) -> LearnedWeights:
    noise, of_prior = run.precisions.noise, problem.prior_groups
    of_data, m = noise[~of_prior].tolist(), problem.data.network.layer_sizes[-1]
    return LearnedWeights(
        alpha=tuple(run.precisions.alpha.tolist()),
        groups=problem.group_names,
        determined=tuple(run.determined.tolist()),
        beta=tuple(of_data[:m]),
        gamma=tuple(of_data[m:]) or None,
        omega=tuple(noise[of_prior].tolist()) or None,
    )


@contextmanager
def _threads_for(solver: Solver, problem: SurrogateProblem) -> Iterator[None]:
    """Use one thread for small problems, where starting a second thread costs more than its work."""
    rows, columns = problem.n_residuals, problem.n_parameters
    large = columns >= _THREADED_PARAMETERS
    if isinstance(solver, LevenbergMarquardt):
        large = rows * columns * min(rows, columns) >= _THREADED_WORK
    if large or problem.tensor_options[1].type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
