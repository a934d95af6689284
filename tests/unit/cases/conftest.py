"""A case that takes milliseconds: a bowl above a plane, three design variables, one exact subsystem."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from matplotlib.figure import Figure

from cases.case import Case, Response, Stage
from gradopt import JENN, Variable
from gradopt.errors import EvaluationError
from gradopt.sampling import latin_hypercube
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates import Polish

CENTER = np.array([0.5, -0.3, 0.0])
EDGE = np.full(3, 2.0)
INPUTS = (Variable("a", (2,), lower=-2.0, upper=2.0), Variable("b", units="m", lower=-2.0, upper=2.0))
OUTPUTS = (Variable("f", units="N"), Variable("g"))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what OpenMDAO and the command line write out of the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are empty files: drawing them takes most of the time of a short run, and other tests look at them."""
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: Path(path).touch())


@pytest.fixture
def calls() -> list[np.ndarray]:
    """List the points at which the truth of `make_case` was evaluated."""
    return []


@pytest.fixture
def make_case(case_maker: Callable[..., Case], calls: list[np.ndarray]) -> Callable[..., Case]:
    """Return a maker of bowls whose truth appends each evaluated point to `calls`."""
    return partial(case_maker, calls)


@pytest.fixture(scope="session")
def case_maker() -> Callable[..., Case]:
    """Return a maker of bowls; `fails` says where the truth fails, all else replaces fields of the case."""

    def make(calls: list[np.ndarray], fails: Callable[[np.ndarray], bool] = lambda x: False, **changes: Any) -> Case:
        def truth(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            calls.append(x.copy())
            if fails(x):
                raise EvaluationError(f"no convergence at {x}")
            gap = x - CENTER
            return np.array([gap @ gap, x.sum()]), np.array([2.0 * gap, np.ones(3)])

        solver = LevenbergMarquardt(max_iterations=60)
        network = JENN((6,), activation="tanh", weights="fixed", solver=solver, starts=1)
        fields: dict[str, Any] = {
            "name": "bowl",
            "title": "the bottom of a bowl",
            "citation": "nobody",
            "inputs": INPUTS,
            "outputs": OUTPUTS,
            "truth": truth,
            "start": np.array([1.0, 1.0, 1.0]),
            "lower": -EDGE,
            "upper": EDGE,
            "limits": (-2.0 * EDGE, 2.0 * EDGE),
            "responses": (Response("f", "minimize"), Response("g", "lower", 0.5), Response("h", "upper", (3.0, 3.5))),
            "design": lambda n, seed: latin_hypercube(INPUTS, n, seed),
            "samples": 20,
            "held_out": 6,
            "stages": (Stage("JENN", network), Stage("polished JENN", polish=Polish())),
            "exact": lambda: {
                "exact": om.ExecComp("h = k * b", h=np.zeros(2), b={"units": "m"}, k=np.array([1.0, 2.0]))
            },
            "settings": {"depth": 0.0},
        }
        return Case(**{**fields, **changes})

    return make
