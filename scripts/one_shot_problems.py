"""Problems that studies optimize in one shot, and how far the optimum found on a surrogate is from the true one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cases.airfoil.case import airfoil_case
from cases.case import Case, Response
from cases.one_shot import StageResult, run_reference
from cases.rosenbrock.case import rosenbrock_case
from cases.rosenbrock.disk import OPTIMUM as DISK_OPTIMUM
from cases.rosenbrock.disk import rosenbrock_disk
from gradopt import Variable
from gradopt.sampling import latin_hypercube
from scripts.benchmark_problems import PROBLEMS


def valley(dimension: int, samples: int) -> Case:
    """Rosenbrock's function in a box."""
    # One held-out sample is the least that the case bears; the studies judge by the optimum.
    return replace(rosenbrock_case(dimension, samples), name=f"rosenbrock_{dimension}", held_out=1)


def disk(samples: int) -> Case:
    """Rosenbrock's function within the unit disk; objective and constraint are both learned."""
    return replace(
        valley(2, samples),
        name="rosenbrock_disk",
        truth=rosenbrock_disk,
        outputs=(Variable("f"), Variable("r2")),
        responses=(Response("f", "minimize"), Response("r2", "upper", 1.0)),
        optimum=DISK_OPTIMUM,
    )


def branin(samples: int) -> Case:
    """Branin's function, whose three minima are alike."""
    problem = PROBLEMS["branin"]
    lower, upper = np.array(problem.lower), np.array(problem.upper)

    def truth(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, dydx = problem.evaluate(x[None])
        return y[0], dydx[0]

    return replace(
        valley(2, samples),
        name="branin",
        title="minimize Branin's function",
        citation=problem.source,
        inputs=problem.inputs,
        truth=truth,
        start=(lower + upper) / 2.0,
        lower=lower,
        upper=upper,
        limits=(lower, upper),
        design=lambda n, seed: latin_hypercube(problem.inputs, n, seed),
        optimum=np.array([np.pi, 2.275]),
    )


def airfoil(quick: bool) -> Case:
    """Drag of an airfoil at fixed lift: 17 inputs, 4 outputs."""
    return replace(airfoil_case(quick=quick), held_out=1)


def best(case: Case) -> float:
    """The least objective of the truth: known, or what SLSQP finds on the truth within the box of the surrogate."""
    if case.optimum is not None:
        return float(case.truth(case.optimum)[0][0])  # the first output of those problems
    reference = run_reference(replace(case, limits=(case.lower, case.upper)))
    return float(reference.responses[case.responses[0].name][0])


def excess(case: Case, least: float, stage: StageResult) -> float:
    """True objective at the optimum found, less the least, in the unit shown; below 0 only where infeasible."""
    objective = case.responses[0]
    return float(stage.true[objective.name][0] - least) * objective.shown_per_unit


def violation(case: Case, stage: StageResult) -> float:
    """The largest violation of a constraint by the truth at the optimum found."""
    return max(response.violation(stage.true[response.name]) for response in case.responses)
