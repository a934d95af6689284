"""Problems of one-shot optimization, and the error of an optimum on a surrogate.

For `jenn.one_shot_optimizations` and `jenn.polishing_sweep`.
"""

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
from scripts.shared.benchmark_problems import PROBLEMS


def valley(dimension: int, samples: int) -> Case:
    """Make Rosenbrock's function within bounds."""
    # The case requires a held-out sample; here the optimum is judged.
    return replace(rosenbrock_case(dimension, samples), name=f"rosenbrock_{dimension}", held_out=1)


def disk(samples: int) -> Case:
    """Make Rosenbrock's function within the unit disk; objective and constraint are both learned."""
    return replace(
        valley(2, samples),
        name="rosenbrock_disk",
        truth=rosenbrock_disk,
        outputs=(Variable("f"), Variable("r2")),
        responses=(Response("f", "minimize"), Response("r2", "upper", 1.0)),
        optimum=DISK_OPTIMUM,
    )


def branin(samples: int) -> Case:
    """Make Branin's function, whose three minima have one value."""
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
    """Make the drag of an airfoil at fixed lift: 17 inputs, 4 outputs."""
    return replace(airfoil_case(quick=quick), held_out=1)


def best(case: Case) -> float:
    """Return the least true objective: known, or found by SLSQP on the truth within the bounds of the surrogate."""
    if case.optimum is not None:
        return float(case.truth(case.optimum)[0][0])  # the first output of those problems
    reference = run_reference(replace(case, limits=(case.lower, case.upper)))
    return float(reference.responses[case.responses[0].name][0])


def excess(case: Case, least: float, stage: StageResult) -> float:
    """Return the true objective at the optimum found, less the least, in its shown unit; below 0 only if infeasible."""
    objective = case.responses[0]
    return float(stage.true[objective.name][0] - least) * objective.shown_per_unit


def violation(case: Case, stage: StageResult) -> float:
    """Return the largest true violation of a constraint at the optimum found, in the unit of the constraint."""
    return max(response.violation(stage.true[response.name]) for response in case.responses)
