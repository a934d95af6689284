"""Short runs of the loop, by name; each function returns its `Record`. For `loop.digests` and `tests/golden`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import openmdao.api as om

import gradopt as go
from cases.adaptive import run_adaptive
from cases.adaptive_case import AdaptiveCase
from cases.airfoil_study.conditions import sample_conditions
from cases.airfoil_study.engine import Rules
from cases.airfoil_study.problem import make_problem
from cases.airfoil_study.study import run_study
from cases.baseline import run_baseline
from cases.cli import CASES, build_parser
from cases.rosenbrock.disk import rosenbrock_disk
from cases.rosenbrock.function import rosenbrock
from scripts.loop.digest_record import Record, Recorded, disturbed, record

X, F, R2 = go.Variable("x", (2,), lower=-2.0, upper=2.0), go.Variable("f"), go.Variable("r2")
FAR, NEAR = (1.25, -1.75), (-0.6, 0.7)
NO_KRIGING = go.loop.CorrectionTerms(kriging=False)
SMALL = go.JENN((8,), activation="tanh", starts=1, alpha=1e-6, solver=go.solvers.LevenbergMarquardt(max_iterations=40))
AIRFOILS = ("naca0012", "rae2822", "naca4412")


def case_of(arguments: str, **changes: Any) -> AdaptiveCase:
    """Make a case from its arguments on the command line, and change fields of it."""
    options = build_parser().parse_args(["run", *arguments.split()])
    return replace(CASES[options.name].adaptive(options), **changes)


def run_case(case: AdaptiveCase, budget: int, store: go.EvaluationStore | None = None) -> Record:
    """Run a case by the loop, without the network that it may fit at the end."""
    truths = tuple(Recorded(truth) for truth in case.truths)
    case = replace(case, truths=truths, max_evaluations=budget, closing=None)
    found = run_adaptive(case, 0, store or go.EvaluationStore(), lambda line: None)
    objective = found.final.true[case.responses[0].name]
    return record(truths, found.iterations, found.exit.value, found.evaluations, objective)


def run_baseline_case(case: AdaptiveCase, budget: int) -> Record:
    """Run a case by SLSQP on the truth models themselves."""
    truths = tuple(Recorded(truth) for truth in case.truths)
    found = run_baseline(replace(case, truths=truths), lambda line: None, budget)
    name = case.responses[0].name
    history = tuple((one.x.copy(), float(one.true[name][0]), np.nan, one.accepted) for one in found.visits)
    points = tuple(tuple(truth.points) for truth in truths)
    return Record(points, history, f"success {found.success}", found.evaluations, float(found.final.true[name][0]))


def run_loop(model: om.Group, truths: Sequence[Recorded], name: str, start: Sequence[float], **options: Any) -> Record:
    """Run the loop on a model whose objective and constraints are declared and whose design variable is x.

    Args:
        model: The model.
        truths: The truth models in it.
        name: The objective.
        start: Initial x.
        **options: Of the driver.
    """
    problem = om.Problem(model, go.AdaptiveDriver(**{"configuration": None, **options}), reports=None)
    problem.setup()
    problem.set_val("x", start)
    problem.run_driver()
    driver = problem.driver
    return record(truths, driver.history, driver.exit.value, driver.evaluations, problem.get_val(name))


def run_disk(
    f: Callable[[np.ndarray], Any],
    given: Any = None,
    start: Sequence[float] = FAR,
    limit: float = 1.0,
    budget: int = 80,
    **options: Any,
) -> Record:
    """Run the loop on a valley in the unit disk; f computes both f and r2, or r2 is exact where it has one output.

    Args:
        f: The function of the truth model.
        given: Fitted surrogate of it, or None.
        start: Initial x.
        limit: Upper bound of r2.
        budget: Largest number of evaluations.
        **options: Of the driver.
    """
    y = f(np.array([-1.9, -1.9]))  # no function fails there
    both = np.size(y[0] if isinstance(y, tuple) else y) == 2
    truth = Recorded(go.FunctionTruth(f, (X,), (F, R2) if both else (F,)))
    model = om.Group()
    model.add_subsystem("valley", go.SurrogateComp(given, truth=truth), promotes=["*"])
    if not both:
        model.add_subsystem("disk", om.ExecComp("r2 = sum(x**2)", x=np.zeros(2)), promotes=["*"])
    model.set_input_defaults("x", np.zeros(2))
    model.add_design_var("x", lower=-2.0, upper=2.0)
    model.add_constraint("r2", upper=limit)
    model.add_objective("f")
    return run_loop(model, [truth], "f", start, max_evaluations=budget, **options)


def value(x: np.ndarray) -> float:
    """Compute Rosenbrock's function without partials."""
    return float(rosenbrock(x)[0][0])


def values(x: np.ndarray) -> np.ndarray:
    """Compute Rosenbrock's function and the square of the radius without partials."""
    return rosenbrock_disk(x)[0]


def some_partials(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute Rosenbrock's function and the square of the radius, whose partials by x[1] are not known."""
    y, dydx = rosenbrock_disk(x)
    return y, dydx * [1.0, np.nan]


def slab(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute Rosenbrock's function and the square of the radius, and fail in a slab before the minimum."""
    if 0.0 < x[0] < 0.35:
        raise go.errors.EvaluationError("no mesh")
    return rosenbrock_disk(x)


def fails_far(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute Rosenbrock's function and the square of the radius, and fail right of 1."""
    if x[0] > 1.0:
        raise go.errors.EvaluationError("no mesh")
    return rosenbrock_disk(x)


def wrong_partials(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute Rosenbrock's function and the square of the radius, with partials that are all 0."""
    y, dydx = rosenbrock_disk(x)
    return y, 0.0 * dydx


def noisy(x: np.ndarray) -> np.ndarray:
    """Compute Rosenbrock's function and the square of the radius with short waves in the place of noise."""
    return values(x) + 1e-4 * np.sin(1e5 * x) * np.cos(3e5 * x[::-1])


def samples() -> go.Dataset:
    """Evaluate the valley at twelve points."""
    points = go.sampling.latin_hypercube([X], 12, seed=0)
    found = [rosenbrock(point) for point in points]
    return go.Dataset(points, np.array([y for y, _ in found]), np.array([dydx for _, dydx in found]), [X], [F])


def run_given(f: Callable[[np.ndarray], Any], **options: Any) -> Record:
    """Run the loop with a fitted surrogate of the valley given."""
    return run_disk(f, SMALL.fit(samples()), NEAR, finite_differences=go.truth.FiniteDifferences(1e-6), **options)


def run_resumed() -> Record:
    """Run rosenbrock_disk with a store in a file, and continue; the points are those of both runs.

    No stored point is evaluated again.
    """
    with TemporaryDirectory() as folder:
        runs = []
        for budget in (9, 40):
            with go.EvaluationStore(Path(folder) / "run.sqlite", verify_stored=False) as store:
                runs.append(run_case(case_of("rosenbrock_disk"), budget, store))
    return replace(runs[1], points=tuple(a + b for a, b in zip(runs[0].points, runs[1].points, strict=True)))


def run_maximized(scaling: dict[str, Any]) -> Record:
    """Maximize a power in units and a scaling that the truth does not have."""
    inputs, outputs = (go.Variable("x", (2,), "cm", lower=-200.0, upper=200.0),), (go.Variable("power", units="kW"), R2)

    def f(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, dydx = rosenbrock_disk(x / 100.0)
        return y * [-1.0, 1.0], dydx * [[-0.01], [0.01]]

    truth = Recorded(go.FunctionTruth(f, inputs, outputs))
    model = om.Group()
    model.add_subsystem("plant", go.SurrogateComp(truth=truth), promotes=["*"])
    model.add_design_var("x", lower=-2.0, upper=2.0, units="m", ref=0.5, ref0=0.1)
    model.add_constraint("r2", upper=1.0, scaler=2.0, adder=0.5)
    model.add_objective("power", units="W", **scaling)
    return run_loop(model, [truth], "power", [125.0, -175.0], max_evaluations=40)


def run_shared() -> Record:
    """Let two components share one truth model, the second one at a shifted point."""
    truth = Recorded(go.FunctionTruth(rosenbrock, (X,), (F,)))
    model = om.Group()
    model.add_subsystem("shift", om.ExecComp("z = 0.5 * x + 0.2", x=np.zeros(2), z=np.zeros(2)), promotes=["*"])
    model.add_subsystem("a", go.SurrogateComp(truth=truth), promotes_inputs=["x"])
    model.add_subsystem("b", go.SurrogateComp(truth=truth), promotes_inputs=[("x", "z")])
    model.add_subsystem("sum", om.ExecComp("total = p + 0.5 * q"), promotes=["total"])
    model.set_input_defaults("x", np.zeros(2))
    model.connect("a.f", "sum.p")
    model.connect("b.f", "sum.q")
    model.add_design_var("x", lower=-2.0, upper=2.0)
    model.add_objective("total")
    return run_loop(model, [truth], "total", FAR, max_evaluations=50)


class Valley(om.ExplicitComponent):  # type: ignore[misc]
    """Rosenbrock's function f of x (3,) and c = |x|^2, which keeps a copy of each point."""

    def __init__(self, points: list[np.ndarray]) -> None:
        """Add the points to a list."""
        super().__init__()
        self._points = points

    def setup(self) -> None:
        """Declare x, f and c."""
        self.add_input("x", shape=3)
        self.add_output("f")
        self.add_output("c")
        self.declare_partials("*", "*")

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Compute f and c."""
        self._points.append(inputs["x"].copy())
        outputs["f"], outputs["c"] = disturbed(rosenbrock(inputs["x"])[0]), inputs["x"] @ inputs["x"]

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """Compute the partials."""
        partials["f", "x"], partials["c", "x"] = disturbed(rosenbrock(inputs["x"])[1]), 2.0 * inputs["x"]


def run_optimize(**options: Any) -> Record:
    """Optimize a whole model; the points are those of all its runs."""
    points: list[np.ndarray] = []

    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("valley", Valley(points), promotes=["*"])
        problem.model.add_design_var("x", lower=-2.0, upper=2.0, ref=2.0)
        problem.model.add_objective("f", ref=10.0)
        problem.model.add_constraint("c", upper=2.0)
        problem.setup()
        problem.set_val("x", [1.25, -1.75, 1.25])
        return problem

    found = go.optimize(factory, max_evaluations=40, **options)
    made = record((), found.history, found.exit.value, found.evaluations, found.objective)
    return replace(made, points=(tuple(points),))


def run_airfoil(name: str) -> Record:
    """Run the case airfoil from one start."""
    return run_case(case_of(f"airfoil --airfoil {name}"), 25)


def run_airfoil_study() -> Record:
    """Run the study of airfoils as with --quick; the history has one entry for each design."""
    problem = make_problem()
    truth = Recorded(problem.truth)
    rules = replace(Rules(), waves=(1, 3), iterations=(4, 1), budget=6.0, final_iterations=1)
    shared, store = replace(problem, truth=cast(Any, truth)), go.EvaluationStore()
    found = run_study(shared, sample_conditions(4, 0), store, rules, 8, 0, lambda line: None)
    states = [found.engine.designs[index] for index in range(len(found.designs))]
    history = tuple(
        (design.responses.u.copy(), float(design.responses.f), float(state.trust_region.radius), design.stopped)
        for design, state in zip(found.designs, states, strict=True)
    )
    ended = f"{sum(design.kkt.certified for design in found.designs)} of {len(history)} certified"
    return Record((tuple(truth.points),), history, ended, found.evaluations, sum(d.drag for d in found.designs))


def disk_of(f: Callable[[np.ndarray], Any]) -> AdaptiveCase:
    """Make the case rosenbrock_disk with another function."""
    case = case_of("rosenbrock_disk")
    return replace(case, truths=(go.FunctionTruth(f, case.truths[0].inputs, case.truths[0].outputs),))


RUNS: dict[str, Callable[[], Record]] = {
    "rosenbrock 2": lambda: run_case(case_of("rosenbrock --dimension 2", configuration=None), 60),
    "rosenbrock 5": lambda: run_case(case_of("rosenbrock --dimension 5", configuration=None), 60),
    "disk": lambda: run_case(case_of("rosenbrock_disk"), 60),
    "sellar 1": lambda: run_case(case_of("sellar --replace 1"), 60),
    "sellar 2": lambda: run_case(case_of("sellar --replace 2"), 60),
    "sellar both": lambda: run_case(case_of("sellar --replace both"), 60),
    "without partials": lambda: run_disk(values),
    "without partials, initial samples": lambda: run_disk(values, initial_samples=5, budget=200),
    "without partials, exact constraint": lambda: run_disk(value, finite_differences=go.truth.FiniteDifferences(1e-6)),
    "some partials": lambda: run_disk(some_partials),
    "fails in a slab": lambda: run_disk(slab, start=NEAR),
    "fails in a slab, initial samples": lambda: run_disk(slab, start=NEAR, initial_samples=6),
    "fails at the start": lambda: run_disk(fails_far),
    "wrong partials": lambda: run_disk(wrong_partials, start=NEAR),
    "infeasible": lambda: run_disk(
        rosenbrock_disk, limit=-0.5, correction=NO_KRIGING, trust_region=go.loop.TrustRegion(smallest=0.02)
    ),
    "stopped": lambda: run_disk(rosenbrock_disk, callback=lambda one: one.number == 4),
    "initial samples": lambda: run_disk(rosenbrock_disk, initial_samples=6),
    "three starts": lambda: run_disk(rosenbrock_disk, starts=3),
    "no kriging": lambda: run_disk(rosenbrock_disk, correction=NO_KRIGING),
    "no kriging, without partials": lambda: run_disk(values, correction=NO_KRIGING),
    "no kriging, fails in a slab": lambda: run_disk(slab, start=NEAR, correction=NO_KRIGING),
    "maximized by ref": lambda: run_maximized({"ref": -500.0, "ref0": 100.0}),
    "maximized by scaler": lambda: run_maximized({"scaler": -1e-3}),
    "shared truth": run_shared,
    "resumed": run_resumed,
    "optimize": partial(run_optimize, configuration=None),
    "direct": lambda: run_baseline_case(case_of("rosenbrock_disk"), 40),
    "direct, without partials": lambda: run_baseline_case(disk_of(values), 40),
    "noisy": lambda: run_disk(noisy, finite_differences=go.truth.FiniteDifferences(1e-2)),
    "given": lambda: run_given(rosenbrock),
    "given, without partials": lambda: run_given(value),
    "given, initial samples": lambda: run_given(value, initial_samples=3),
    "prior, network": lambda: run_disk(rosenbrock, initial_data={"valley": samples()}, configuration=SMALL),
    "rosenbrock 10": lambda: run_case(case_of("rosenbrock --dimension 10", configuration=None), 80),
    "rosenbrock 2, network": lambda: run_case(case_of("rosenbrock --dimension 2"), 40),
    "rosenbrock 5, network": lambda: run_case(case_of("rosenbrock --dimension 5"), 30),
    "without partials, network": lambda: run_disk(values, budget=40, configuration=SMALL),
    "optimize, network": partial(run_optimize, configuration=SMALL),
    "wing": lambda: run_case(case_of("wing"), 8),
    **{f"airfoil {name}": partial(run_airfoil, name) for name in AIRFOILS},
    "airfoil study": run_airfoil_study,
}

GOLDEN = (
    "rosenbrock 2",
    "rosenbrock 5",
    "sellar 2",
    "without partials, initial samples",
    "some partials",
    "no kriging",
    "no kriging, without partials",
    "no kriging, fails in a slab",
    "fails at the start",
    "wrong partials",
    "stopped",
    "shared truth",
    "direct, without partials",
)
"""Fast runs without a network and without extras, for `tests/golden`."""

QUICK = ("sellar 2", "fails at the start", "wrong partials", "direct, without partials")
"""Fast runs of `GOLDEN`, for a tiny budget."""
