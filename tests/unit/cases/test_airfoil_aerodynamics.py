"""NeuralFoil through CasADi: NeuralFoil's own values, exact partials, honest failures, copies that work."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest

from cases.airfoil.aerodynamics import NeuralFoilTruth
from cases.airfoil.geometry import load_shape
from gradopt.errors import EvaluationError, InputError, ShapeError

casadi = pytest.importorskip("casadi")
neuralfoil = pytest.importorskip("neuralfoil")

DESIGNS = range(3)


@pytest.fixture(scope="module")
def truth() -> NeuralFoilTruth:
    return NeuralFoilTruth(load_shape("naca4412"), reynolds=3e6, n_crit=8.0)


def design(truth: NeuralFoilTruth, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weights = np.concatenate([truth.shape.upper_weights, truth.shape.lower_weights])
    return np.append(weights + 0.05 * rng.normal(size=16), rng.uniform(-2, 8))


def by_neuralfoil(truth: NeuralFoilTruth, x: np.ndarray) -> np.ndarray:
    kulfan = {
        "upper_weights": x[:8],
        "lower_weights": x[8:16],
        "leading_edge_weight": truth.shape.leading_edge_weight,
        "TE_thickness": truth.shape.trailing_edge_thickness,
    }
    aero = neuralfoil.get_aero_from_kulfan_parameters(
        kulfan, alpha=x[16], Re=truth.reynolds, n_crit=truth.n_crit, model_size=truth.model_size
    )
    return np.concatenate([aero[name] for name in ("CL", "CD", "CM", "analysis_confidence")])


@pytest.mark.parametrize("seed", DESIGNS)
def test_values_are_those_of_neuralfoil(truth: NeuralFoilTruth, seed: int) -> None:
    x = design(truth, seed)
    np.testing.assert_allclose(truth.evaluate(x)[0], by_neuralfoil(truth, x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", DESIGNS)
def test_partials_are_those_of_central_differences_of_neuralfoil(truth: NeuralFoilTruth, seed: int) -> None:
    x = design(truth, seed)
    partials = truth.evaluate(x)[1]
    for j, step in enumerate([1e-5] * 16 + [1e-4]):
        e = step * (np.arange(17) == j)
        difference = (by_neuralfoil(truth, x + e) - by_neuralfoil(truth, x - e)) / (2 * step)
        scale = np.abs(partials).max(axis=1)
        np.testing.assert_array_less(np.abs(partials[:, j] - difference), 1e-6 * scale + 1e-12)


def test_model_size_is_passed_on() -> None:
    truth = NeuralFoilTruth(load_shape("naca4412"), model_size="xxsmall")
    x = design(truth, 0)
    np.testing.assert_allclose(truth.evaluate(x)[0], by_neuralfoil(truth, x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
def test_values_that_are_not_finite_are_a_failed_evaluation(truth: NeuralFoilTruth, bad: float) -> None:
    x = design(truth, 0)
    x[3] = bad
    with pytest.raises(EvaluationError, match="value or partial that is not finite at x = "):
        truth.evaluate(x)


def test_design_of_wrong_length_is_refused(truth: NeuralFoilTruth) -> None:
    with pytest.raises(ShapeError, match=r"`x` must have shape \(17,\), got \(16,\)\. Concatenate"):
        truth.evaluate(np.zeros(16))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"reynolds": -1.0}, r"`reynolds` must be a positive number, got -1\.0"),
        ({"model_size": "huge"}, r"`model_size` must name a NeuralFoil network, got 'huge'\. Try one of xxsmall, "),
        ({"n_crit": np.nan}, "`n_crit` must be a finite number, got nan"),
    ],
)
def test_wrong_options_are_refused(truth: NeuralFoilTruth, option: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NeuralFoilTruth(truth.shape, **option)  # type: ignore[arg-type]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda truth: pickle.loads(pickle.dumps(truth))])
def test_copies_return_the_same(truth: NeuralFoilTruth, duplicate: object) -> None:
    x = design(truth, 1)
    twin = duplicate(truth)  # type: ignore[operator]
    assert (twin.reynolds, twin.model_size, twin.n_crit) == (truth.reynolds, truth.model_size, truth.n_crit)
    np.testing.assert_array_equal(twin.evaluate(x)[0], truth.evaluate(x)[0])
    np.testing.assert_array_equal(twin.evaluate(x)[1], truth.evaluate(x)[1])


def test_building_leaves_casadi_in_the_numpy_mode_it_found(truth: NeuralFoilTruth) -> None:
    modes = casadi.GlobalOptions
    if not hasattr(modes, "setNumpyMode"):
        pytest.skip("this CasADi has no NumPy modes")
    before = modes.getNumpyMode()
    try:
        for mode in (0, 1):
            modes.setNumpyMode(mode)
            NeuralFoilTruth(truth.shape, model_size="xxsmall").evaluate(design(truth, 0))
            assert modes.getNumpyMode() == mode
    finally:
        modes.setNumpyMode(before)


def test_identity_holds_all_that_the_values_depend_on(truth: NeuralFoilTruth) -> None:
    shape = truth.shape
    same = NeuralFoilTruth(replace(shape, upper_weights=2.0 * shape.upper_weights, name="other"), 3e6, n_crit=8.0)
    assert same.identity == truth.identity  # the weights are inputs
    others = [
        NeuralFoilTruth(shape, reynolds=4e6, n_crit=8.0),
        NeuralFoilTruth(shape, reynolds=3e6, n_crit=9.0),
        NeuralFoilTruth(shape, reynolds=3e6, n_crit=8.0, model_size="small"),
        NeuralFoilTruth(replace(shape, leading_edge_weight=shape.leading_edge_weight + 0.1), 3e6, n_crit=8.0),
        NeuralFoilTruth(replace(shape, trailing_edge_thickness=0.01), 3e6, n_crit=8.0),
    ]
    assert len({truth.identity, *(other.identity for other in others)}) == 6


@pytest.fixture(scope="module")
def open_truth() -> NeuralFoilTruth:
    """Reynolds number as the last input."""
    return NeuralFoilTruth(load_shape("naca4412"), None, n_crit=8.0)


def test_reynolds_number_as_an_input_changes_neither_values_nor_partials(
    truth: NeuralFoilTruth, open_truth: NeuralFoilTruth
) -> None:
    x = design(truth, 0)
    values, partials = open_truth.evaluate(np.append(x, np.log10(3e6)))
    expected = truth.evaluate(x)
    np.testing.assert_allclose(values, expected[0], rtol=1e-10)
    np.testing.assert_allclose(partials[:, :17], expected[1], rtol=1e-8, atol=1e-10)


def test_partial_with_respect_to_the_reynolds_exponent_is_exact(open_truth: NeuralFoilTruth) -> None:
    x, step = np.append(design(open_truth, 1), 6.4), 1e-5
    e = step * np.eye(18)[17]
    difference = (open_truth.evaluate(x + e)[0] - open_truth.evaluate(x - e)[0]) / (2.0 * step)
    np.testing.assert_allclose(open_truth.evaluate(x)[1][:, 17], difference, rtol=1e-5, atol=1e-9)
    assert np.abs(difference).max() > 1e-4


@pytest.mark.parametrize("exponent", [5e6, 4.0, np.nan])
def test_reynolds_exponent_out_of_range_is_refused(open_truth: NeuralFoilTruth, exponent: float) -> None:
    with pytest.raises(InputError, match=r"`x\[17\]` must be log10 of a Reynolds number, 5 to 8, got .*6\.7 for 5e6"):
        open_truth.evaluate(np.append(design(open_truth, 0), exponent))


def test_design_without_its_reynolds_exponent_is_refused(open_truth: NeuralFoilTruth) -> None:
    with pytest.raises(ShapeError, match=r"`x` must have shape \(18,\), got \(17,\)\. .* log10 of the Reynolds number"):
        open_truth.evaluate(np.zeros(17))


def test_reynolds_number_as_an_input_is_another_truth(truth: NeuralFoilTruth, open_truth: NeuralFoilTruth) -> None:
    assert truth.identity != open_truth.identity
