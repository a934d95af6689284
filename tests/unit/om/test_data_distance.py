"""The distance to the data: its formula, its limits, its exact partials, and what it refuses."""

from __future__ import annotations

import numpy as np
import openmdao.api as om
import pytest
from openmdao.utils.assert_utils import assert_check_partials

from gradopt import Dataset, Variable
from gradopt.errors import InputError, ShapeError
from gradopt.om.data_distance import DataDistance, DataDistanceComp

INPUTS = (Variable("a", shape=(3,), units="m"), Variable("b"), Variable("flow", shape=(2,)))
USED = ("a", "b")  # d = 4


def dataset(x: np.ndarray) -> Dataset:
    return Dataset(x, np.zeros((len(x), 1)), None, INPUTS, [Variable("f")])


@pytest.fixture(scope="module")
def data() -> Dataset:
    generator = np.random.default_rng(0)
    scale = np.array([1.0, 0.1, 30.0, 2.0, 5.0, 5.0])
    return dataset(np.array([3.0, 0.0, -8.0, 0.0, 0.0, 0.0]) + scale * generator.uniform(-1.7, 1.7, (300, 6)))


@pytest.fixture(scope="module")
def measure(data: Dataset) -> DataDistance:
    return DataDistance.of(data, USED)


def test_distance_is_that_of_its_formula(measure: DataDistance, data: Dataset) -> None:
    x = data.x[3, :4] + 0.01
    apart = data.x[:, :4] - x
    squares = np.einsum("ij,jk,ik->i", apart, np.linalg.inv(np.cov(data.x[:, :4].T)), apart)
    density = np.exp(-squares / (2.0 * measure.bandwidth**2)).mean()
    assert measure.distance(x)[0] == pytest.approx(np.sqrt(-2.0 * measure.bandwidth**2 * np.log(density)), rel=1e-9)
    assert measure.distances(x[None]) == pytest.approx([measure.distance(x)[0]])


def test_all_inputs_count_where_none_are_named(data: Dataset) -> None:
    assert DataDistance.of(data).inputs == INPUTS
    assert DataDistance.of(data).samples.shape == (300, 6)


def test_bandwidth_is_half_the_distance_to_the_nearest_neighbor(measure: DataDistance) -> None:
    apart = np.linalg.norm(measure.samples[:, None] - measure.samples, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert measure.bandwidth == pytest.approx(0.5 * np.median(apart.min(axis=1)))


def test_distance_far_away_is_that_to_the_nearest_sample(measure: DataDistance) -> None:
    x = measure.mean + 500.0 * np.linalg.solve(measure.whitening, np.eye(4)[0])
    nearest = np.linalg.norm(500.0 * np.eye(4)[0] - measure.samples, axis=1).min()
    assert measure.distance(x)[0] == pytest.approx(nearest, rel=1e-3)
    assert np.isfinite(measure.distance(x)[1]).all()


def test_distance_does_not_depend_on_the_units_of_the_inputs(measure: DataDistance, data: Dataset) -> None:
    matrix = np.random.default_rng(1).normal(size=(4, 4)) + 3.0 * np.eye(4)
    x = data.x.copy()
    x[:, :4] = x[:, :4] @ matrix.T
    other = DataDistance.of(dataset(x), USED)
    point = data.x[5, :4] * 1.3
    assert other.bandwidth == pytest.approx(measure.bandwidth, rel=1e-6)
    assert other.distance(matrix @ point)[0] == pytest.approx(measure.distance(point)[0], rel=1e-6)


def test_empty_room_between_clusters_is_far_from_the_data() -> None:
    generator = np.random.default_rng(2)
    x = generator.normal(size=(200, 6)) + np.repeat([[-20.0], [20.0]], 100, axis=0)
    measure = DataDistance.of(dataset(x), ("b",))
    middle, inside = measure.distances(np.array([[0.0], [20.0]]))
    assert middle > 3.0 * inside
    assert abs(measure.whitening @ (np.zeros(1) - measure.mean)) < 0.1  # Mahalanobis: the middle is the nearest


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_partials_are_those_of_complex_step(measure: DataDistance, data: Dataset, factor: float) -> None:
    x = factor * data.x[11, :4] + 1e-3
    steps = 1e-30j * np.eye(4)
    expected = [measure.distance(x + step)[0].imag / 1e-30 for step in steps]
    np.testing.assert_allclose(measure.distance(x)[1], expected, rtol=1e-9, atol=1e-9)


def test_limit_is_a_quantile_of_held_out_samples(measure: DataDistance) -> None:
    held_out = measure.mean + np.random.default_rng(3).normal(size=(200, 4)) @ np.linalg.inv(measure.whitening).T
    limit = measure.limit(held_out, 0.9)
    assert (measure.distances(held_out) <= limit).mean() == pytest.approx(0.9, abs=0.01)
    assert measure.limit(held_out) == np.quantile(measure.distances(held_out), 0.99)


def test_nearest_samples_are_found(measure: DataDistance, data: Dataset) -> None:
    rows, apart = measure.nearest(data.x[7, :4], 3)
    assert rows[0] == 7 and apart[0] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(apart) > 0.0).all()
    assert apart[1] == pytest.approx(np.linalg.norm(measure.samples[rows[1]] - measure.samples[7]))


def test_component_has_exact_partials(measure: DataDistance, data: Dataset) -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("distance_to_data", DataDistanceComp(measure), promotes=["*"])
    problem.setup(force_alloc_complex=True)
    x = 1.2 * data.x[2, :4]
    problem.set_val("a", x[:3] * 100.0, units="cm")
    problem.set_val("b", x[3])
    problem.run_model()
    assert problem.get_val("distance")[0] == pytest.approx(measure.distance(x)[0])
    assert_check_partials(problem.check_partials(method="cs", out_stream=None), atol=1e-9, rtol=1e-9)


def test_constraint_keeps_an_optimum_among_the_data(measure: DataDistance) -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("distance_to_data", DataDistanceComp(measure), promotes=["*"])
    problem.model.add_subsystem("line", om.ExecComp("f = sum(a) - b", a={"shape": 3, "units": "m"}), promotes=["*"])
    for name, columns in (("a", slice(0, 3)), ("b", slice(3, 4))):
        problem.model.add_design_var(
            name, ref0=measure.mean[columns], ref=measure.mean[columns] + 1.0 / np.diag(measure.whitening)[columns]
        )
    problem.model.add_objective("f")
    problem.model.add_constraint("distance", upper=2.5)
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", disp=False)
    problem.setup()
    problem.set_val("a", measure.mean[:3])
    problem.set_val("b", measure.mean[3])
    assert problem.run_driver().success
    assert problem.get_val("distance")[0] == pytest.approx(2.5, abs=1e-4)


def test_samples_in_a_plane_are_refused(data: Dataset) -> None:
    x = data.x.copy()
    x[:, 1] = 0.0
    with pytest.raises(InputError, match=r"`data` must span all 4 directions .* got 300 samples .* of rank 3\. Take"):
        DataDistance.of(dataset(x), USED)
    with pytest.raises(InputError, match=r"`data` must span all 4 directions .* got 4 samples"):
        DataDistance.of(data.select(range(4)), USED)


def test_repeated_samples_are_refused(data: Dataset) -> None:
    x = np.repeat(data.x[:20], 3, axis=0)
    with pytest.raises(InputError, match=r"mostly different samples, got 60 of the first 60 repeated\. Drop"):
        DataDistance.of(dataset(x), USED)


@pytest.mark.parametrize("names", [("a", "c"), (), ("a", "a")])
def test_unknown_names_are_refused(names: tuple[str, ...], data: Dataset) -> None:
    with pytest.raises(InputError, match=r"`names` must be input variables among \['a', 'b', 'flow'\], got"):
        DataDistance.of(data, names)


def test_points_of_another_size_are_refused(measure: DataDistance, data: Dataset) -> None:
    with pytest.raises(ShapeError, match=r"`x` must have shape \(n, 4\), got \(300, 6\)\. Pass the columns of a, b\."):
        measure.distances(data.x)
    with pytest.raises(ShapeError, match=r"must have shape \(n, 4\), got \(4,\)"):
        measure.limit(data.x[0, :4])


@pytest.mark.parametrize("quantile", [-0.1, 1.1, np.nan])
def test_quantile_outside_0_to_1_is_refused(measure: DataDistance, data: Dataset, quantile: float) -> None:
    with pytest.raises(InputError, match=r"`quantile` must be from 0 to 1, got"):
        measure.limit(data.x[:, :4], quantile)
