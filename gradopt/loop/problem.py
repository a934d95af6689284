"""What the loop sees of an optimization problem: bounds, truths, and responses on given surrogates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gradopt.data.variables import Variable
from gradopt.optimality.problem import Limits, Responses
from gradopt.surrogates.protocol import SupportsEvaluate

if TYPE_CHECKING:  # a run without a network needs no torch
    from gradopt.surrogates.fitting.incremental import SupportsFit


@dataclass(frozen=True, eq=False)
class LearnedTruth:
    """A truth that surrogates stand for, without the means to evaluate it.

    Attributes:
        inputs: Variables of the input columns.
        outputs: Variables of the output columns.
        configuration: Configuration of its global surrogate; None fits none.
    """

    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    configuration: SupportsFit | None = None


@dataclass(frozen=True, eq=False)
class Component:
    """A place in the problem where a surrogate stands for a truth.

    Attributes:
        truth: Index of the truth; components may share one.
        initial: Initial surrogate, None without one. It is corrected, and no other is fitted in its place.
    """

    truth: int = 0
    initial: SupportsEvaluate | None = None


class Problem(Protocol):
    """An optimization problem with surrogates in some places."""

    @property
    def limits(self) -> Limits:
        """Bounds of design variables and constraints."""
        ...

    @property
    def truths(self) -> Sequence[LearnedTruth]:
        """Truths that are learned."""
        ...

    @property
    def components(self) -> Sequence[Component]:
        """Places where surrogates stand for them."""
        ...

    def evaluate_on(self, surrogates: Sequence[SupportsEvaluate], u: np.ndarray) -> Responses:
        """Evaluate the problem on surrogates, without any truth.

        Args:
            surrogates: One for each component.
            u: Design variables (k,).

        Returns:
            Objective and constraints with their gradients.

        Raises:
            EvaluationError: If a surrogate or the rest of the model fails there.
        """
        ...


def initial_surrogates(problem: Problem) -> list[SupportsEvaluate] | None:
    """Return the initial surrogates of all components, None unless each has one."""
    found = [component.initial for component in problem.components if component.initial is not None]
    return found if len(found) == len(problem.components) else None
