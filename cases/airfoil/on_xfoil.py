"""The airfoil case with XFOIL as the truth: no partials, failures, and NeuralFoil as the initial surrogate."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import openmdao.api as om

from cases.adaptive_case import AdaptiveCase, AdaptiveResult
from cases.airfoil.aerodynamics import NeuralFoilTruth
from cases.airfoil.flow import draw_flow
from cases.airfoil.geometry import KulfanShape
from cases.airfoil.xfoil import OUTPUTS, Point, Xfoil
from cases.case import Case
from cases.model import adaptive_case
from gradopt.data.variables import Variable
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.om.component import SurrogateComp
from gradopt.om.truth_evaluator import TruthEvaluation
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.protocol import Truth

TITLE = "minimize an airfoil's drag at fixed lift, XFOIL as the truth"
CITATION = "Aerodynamics: Drela (1989), XFOIL: an analysis and design system for low Reynolds number airfoils"

# Steps of finite differences, fractions of the ranges of the weights (0.17 of chord) and of the angle (8.4 deg).
# XFOIL's drag has waves as long as a panel under the transition point; shorter steps measure the slope of the waves.
STEP = 0.005
TOLERANCE = 1e-3  # of the certificate; by hand, as in the case with NeuralFoil


@dataclass(frozen=True, eq=False)
class NeuralFoilSurrogate:
    """NeuralFoil in the place of a fitted surrogate, for a truth of the same variables.

    Attributes:
        aerodynamics: NeuralFoil.
        inputs: Upper weights (8,), lower weights (8,), angle of attack.
        outputs: Some of NeuralFoil's first outputs, in their order.
    """

    aerodynamics: NeuralFoilTruth
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]

    @property
    def lower(self) -> np.ndarray:
        """Lower edge of the domain (17,): none, all shapes within the bounds of the case are inside."""
        return np.full(sum(variable.size for variable in self.inputs), -np.inf)

    @property
    def upper(self) -> np.ndarray:
        """Upper edge of the domain (17,)."""
        return -self.lower

    @property
    def digest(self) -> str:
        """Identity of the surrogate."""
        return self.aerodynamics.identity

    def evaluate(self, x: np.ndarray) -> TruthEvaluation:
        """Evaluate x (n, 17), real or, to first order, complex."""
        found = [self.aerodynamics.evaluate(point) for point in x.real]
        m = len(self.outputs)
        y, dydx = np.array([values[:m] for values, _ in found]), np.array([partials[:m] for _, partials in found])
        if np.iscomplexobj(x):
            y = y + 1j * np.einsum("nmd,nd->nm", dydx, x.imag)
        return TruthEvaluation(y, dydx)


def check_truth(arguments: argparse.Namespace) -> None:
    """Raise `InputError` where options of the command line do not go with the truth."""
    if arguments.truth == "xfoil" and getattr(arguments, "one_shot", False):
        remedy = "Leave out --one-shot, which fits networks to partials: XFOIL returns none."
        raise InputError(explain("--truth", "be neuralfoil with --one-shot", "xfoil", remedy))
    if arguments.truth == "xfoil" and arguments.problem == "multipoint":
        remedy = "Choose another --problem, or leave out --truth."
        raise InputError(explain("--truth", "be neuralfoil with --problem multipoint", "xfoil", remedy))
    if arguments.alone and arguments.truth != "xfoil":
        remedy = "Add --truth xfoil, or leave out --alone."
        raise InputError(explain("--alone", "come with --truth xfoil", arguments.truth, remedy))


def xfoil_case(
    case: Case,
    shape: KulfanShape,
    reynolds: float,
    *,
    initial_surrogate: bool = True,
    quick: bool = False,
) -> AdaptiveCase:
    """Put XFOIL in the place of NeuralFoil.

    Args:
        case: Least drag on NeuralFoil.
        shape: The start.
        reynolds: Reynolds number of the chord.
        initial_surrogate: Whether NeuralFoil is the initial surrogate, which the loop corrects; else there is none.
        quick: Tiny budget: a test that the case runs.

    Returns:
        The same problem, without the constraint on NeuralFoil's confidence.

    Raises:
        InputError: If XFOIL is not installed.
    """
    outputs = tuple(variable for variable in case.outputs if variable.name in OUTPUTS)
    xfoil = Xfoil(shape, reynolds)
    truth = xfoil.truth(case.inputs, outputs)
    given = NeuralFoilSurrogate(NeuralFoilTruth(shape, reynolds), case.inputs, outputs) if initial_surrogate else None

    def model(truths: Sequence[Truth]) -> om.Group:
        group = om.Group()
        group.add_subsystem(case.name, SurrogateComp(given, truth=truths[0]), promotes=["*"])
        for name, component in case.exact().items():
            group.add_subsystem(name, component, promotes=["*"])
        return group

    on_neuralfoil = adaptive_case(
        case,
        configuration=None,
        max_evaluations=24 if quick else 150,
        tolerance=TOLERANCE,
        finite_differences=FiniteDifferences(STEP),
        draw=lambda result, folder: [*case.draw(result, folder), *_draw_flow(result, folder, xfoil)],
    )
    return replace(
        on_neuralfoil,
        title=TITLE,
        citation=f"{CITATION}. {case.citation}",
        responses=tuple(response for response in case.responses if response.name != "analysis_confidence"),
        truths=(truth,),
        model=model,
        settings={**case.settings, "truth": "xfoil", "initial_surrogate": initial_surrogate},
    )


def _draw_flow(result: AdaptiveResult, folder: Path, xfoil: Xfoil) -> list[Path]:
    """Draw pressure and boundary layer at the start and at the final design."""
    points: dict[str, Point] = {}
    for label, x in (("start", result.case.start), ("optimum", result.final.x)):
        try:
            points[label] = xfoil.point(x)
        except EvaluationError:  # the run itself reports it
            continue
    return draw_flow(folder, points) if points else []
