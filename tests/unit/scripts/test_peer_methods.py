"""Each peer learns, returns its own partials, and uses given partials or not as its `Method` states."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from smt.surrogate_models import KRG

from gradopt import Dataset
from scripts.shared.benchmark_problems import PROBLEMS
from scripts.shared.peer_methods import (
    PEERS,
    Predictor,
    Setting,
    finite_differences,
    fit_gekpls,
    gekpls_grid,
    jenn_grid,
    mlp_grid,
)

PROBLEM = PROBLEMS["otl_circuit"]
DATA = PROBLEM.sample(30, seed=0)
FEW = DATA.select(range(10))
TEST = PROBLEM.sample(60, seed=99)
SHORT = {"jenn": 500}  # iterations


def setting(name: str) -> Setting:
    first = PEERS[name].grid(PROBLEM.d)[0]
    return {**first, "max_iter": SHORT[name]} if name in SHORT else first


def fit(name: str, data: Dataset = DATA) -> Predictor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in measure: peers warn
        return PEERS[name].fit(data, 0, setting(name))


@pytest.mark.parametrize("name", PEERS)
def test_peer_learns_and_its_partials_are_those_of_its_values(name: str) -> None:
    values, partials = fit(name)
    y, dydx = values(TEST.x), partials(TEST.x)
    assert y.shape == TEST.y.shape and dydx.shape == TEST.partials.shape
    assert np.sqrt(np.mean((y - TEST.y) ** 2) / TEST.y.var()) < 0.2
    steps = 1e-3 * np.diag(np.array(PROBLEM.upper) - np.array(PROBLEM.lower))
    slopes = np.stack([(values(TEST.x + h) - values(TEST.x - h)) / 2.0 for h in steps], axis=2)
    tolerance = 1e-3 if name == "GEKPLS" else 1e-4  # the correlations of GEKPLS are ill-conditioned
    assert np.abs(slopes - dydx * np.diag(steps)).max() < tolerance * np.abs(slopes).max()


@pytest.mark.parametrize("name", PEERS)
def test_peer_uses_partials_as_it_says(name: str) -> None:
    wrong = replace(FEW, dydx=-FEW.partials)
    same = np.array_equal(fit(name, FEW)[0](TEST.x), fit(name, wrong)[0](TEST.x))
    assert same != PEERS[name].uses_partials


@pytest.mark.parametrize("name", ["jenn", "GENN", "sklearn MLP"])
def test_seed_sets_the_start_of_a_network(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, again, other = (PEERS[name].fit(FEW, seed, setting(name))[0](TEST.x) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.allclose(first, other)


def test_finite_differences_are_the_partials_of_smt() -> None:
    model = KRG(print_global=False)
    model.set_training_values(DATA.x, DATA.y)
    model.train()
    own = np.stack([model.predict_derivatives(TEST.x[:5], j) for j in range(DATA.d)], axis=2)
    found = finite_differences(model.predict_values, TEST.x[:5], DATA)
    scale = TEST.x.std(axis=0)
    assert np.abs((found - own) * scale).max() < 1e-6 * np.abs(own * scale).max()


def test_grids_hold_the_stated_settings() -> None:
    assert {(s["alpha"], s["lambd"]) for s in jenn_grid(3)} == {(a, b) for a in (1e-2, 1e-3) for b in (0.0, 1e-3, 1e-1)}
    assert [s["alpha"] for s in mlp_grid(3)] == [1e-4, 1e-2, 1.0]
    assert [(s["n_comp"], s["extra_points"]) for s in gekpls_grid(2)] == [(2, 1), (2, 2)]
    assert [(s["n_comp"], s["extra_points"]) for s in gekpls_grid(8)] == [(2, 1), (4, 4), (4, 8), (8, 8)]


def test_gekpls_cannot_fit_one_input() -> None:
    with pytest.raises(IndexError, match="out of bounds"):
        fit_gekpls(PROBLEMS["sine"].sample(5, 0), 0, gekpls_grid(1)[0])
