"""Small surrogates with the domain [0.2, 0.8] in every column, and problems around a component."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import openmdao.api as om
import pytest

from gradopt import MLP, Dataset, LevenbergMarquardt, Surrogate, Variable
from gradopt.data.variables import total_size, unflatten
from gradopt.om.component import SurrogateComp

INPUTS = (Variable("speed", units="m/s"), Variable("chord", (2,), units="m"))
OUTPUTS = (Variable("drag", units="N"), Variable("load", (2, 2)))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what OpenMDAO writes out of the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def fitted() -> Callable[..., Surrogate]:
    """Return a maker of surrogates of some variables; `frozen` columns are constant in their data."""

    @cache
    def make(
        inputs: tuple[Variable, ...] = INPUTS,
        outputs: tuple[Variable, ...] = OUTPUTS,
        seed: int = 0,
        frozen: tuple[int, ...] = (),
    ) -> Surrogate:
        rng = np.random.default_rng(seed)
        x = rng.uniform(0.2, 0.8, (12, total_size(inputs)))
        x[0], x[1] = 0.2, 0.8
        x[:, frozen] = 0.5
        y = 1.0 / (1.0 + np.exp(-x @ rng.standard_normal((x.shape[1], total_size(outputs)))))
        solver = LevenbergMarquardt(max_iterations=3)
        return MLP((3,), solver=solver, starts=1).fit(Dataset(x, y, inputs=inputs, outputs=outputs))

    return make


@pytest.fixture(scope="session")
def surrogate(fitted: Callable[..., Surrogate]) -> Surrogate:
    """Make the surrogate speed, chord -> drag, load."""
    return fitted()


@pytest.fixture
def ready() -> Callable[..., om.Problem]:
    """Return a maker of problems that have a component at random points of its domain, not yet run."""

    def make(comp: SurrogateComp, seed: int = 0, mode: str = "auto", **values: object) -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("comp", comp, promotes=["*"])
        problem.setup(force_alloc_complex=True, mode=mode)
        low, high = comp.surrogate.lower, comp.surrogate.upper
        u = np.random.default_rng(seed).uniform(0.1, 0.9, (comp.options["vec_size"], len(low)))
        inside = unflatten(low + (high - low) * u, comp.surrogate.inputs)
        for name, array in inside.items():
            problem.set_val(name, values.get(name, array.reshape(problem.get_val(name).shape)))
        return problem

    return make
