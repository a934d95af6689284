"""The run: ask, evaluate, tell, until the loop ends. Written once for every caller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from gradopt.loop.asking import ask
from gradopt.loop.problem import Problem
from gradopt.loop.request import Outcome, Request
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, Stage, State
from gradopt.loop.telling import tell

Evaluations_contra = TypeVar("Evaluations_contra", contravariant=True)
Evaluations = TypeVar("Evaluations")

Watch = Callable[[State], bool]
"""Is called with the state after each iteration; returning True ends the run there."""


class AskTell(Protocol[Evaluations_contra]):
    """A run in progress."""

    state: State

    def ask(self) -> Request:
        """Return the points to be evaluated next."""
        ...

    def tell(self, request: Request, evaluations: Evaluations_contra, /) -> None:
        """Take their evaluations."""
        ...


class Loop:
    """A run in progress on a problem of any kind.

    Attributes:
        state: State of the run.
    """

    def __init__(self, state: State, problem: Problem, settings: Settings) -> None:
        """Begin with a state, or go on from it."""
        self.state = state
        self._problem, self._settings = problem, settings

    def ask(self) -> Request:
        """Return the points to be evaluated next, see `gradopt.loop.asking`."""
        return ask(self.state, self._problem, self._settings)

    def tell(self, request: Request, outcomes: Sequence[Outcome]) -> None:
        """Take their outcomes, see `gradopt.loop.telling`."""
        self.state = tell(self.state, request, outcomes, self._problem, self._settings)


def run(loop: AskTell[Evaluations], evaluate: Callable[[Request], Evaluations], watch: Watch | None = None) -> State:
    """Ask, evaluate and tell until the run ends.

    Args:
        loop: Run in progress; its state changes.
        evaluate: Evaluates the points of a request on the truth.
        watch: Called after each iteration.

    Returns:
        The state in the end; its `exit` says why.
    """
    seen = len(loop.state.history)
    while not loop.state.done:
        request = loop.ask()
        loop.tell(request, evaluate(request))
        unjudged = loop.state.stage in (Stage.REFINING, Stage.CHECKING)  # both belong to the last iteration
        complete = loop.state.done or not unjudged
        if len(loop.state.history) > seen and complete:
            seen = len(loop.state.history)
            if watch is not None and watch(loop.state):
                loop.state = replace(loop.state, exit=loop.state.exit or Exit.STOPPED)
    return loop.state
