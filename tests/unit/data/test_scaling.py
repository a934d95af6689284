"""Standardization: round trips, and the chain rule through units and transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling, check_input_domain, column_transforms
from gradopt.data.variables import Variable
from gradopt.errors import InputError

INPUTS = (Variable("a"), Variable("b", transform="log"), Variable("c", transform="logit"))
OUTPUTS = (Variable("f"), Variable("g", transform="log"), Variable("h", transform="logit"))


def truth(x: np.ndarray) -> np.ndarray:
    """A positive and a fractional function beside a plain one, none linear in the transformed inputs."""
    a, b, c = x.T
    return np.stack([a * b + c, np.exp(0.3 * a) * b + c, expit(a * c - b)], axis=1)


def slopes(x: np.ndarray) -> np.ndarray:
    a, b, c = x.T
    one, e, h = np.ones_like(a), np.exp(0.3 * a), truth(x)[:, 2]
    rows = [[b, a, one], [0.3 * e * b, e, one], [h * (1 - h) * c, -h * (1 - h), h * (1 - h) * a]]
    return np.moveaxis(np.array(rows), -1, 0)


def sample(n: int = 12) -> Dataset:
    x = np.random.default_rng(0).uniform([-1.0, 0.5, 0.1], [1.0, 5.0, 0.9], size=(n, 3))
    return Dataset(x, truth(x), slopes(x), INPUTS, OUTPUTS)


def unscaled_inputs(scaling: Scaling, z: np.ndarray) -> np.ndarray:
    t = z * scaling.input_scale + scaling.input_mean
    return np.stack([t[:, 0], np.exp(t[:, 1]), expit(t[:, 2])], axis=1)


def plain(x: np.ndarray, y: np.ndarray, dydx: np.ndarray | None = None) -> Dataset:
    """A dataset of one plain input and one plain output column."""
    return Dataset(x[:, None], y[:, None], None if dydx is None else dydx[:, None, None])


# Values --------------------------------------------------------------------------------------------------------------


def test_scaled_training_data_have_zero_mean_and_unit_deviation() -> None:
    data, scaling = sample(), Scaling.of(sample())
    for scaled in (scaling.scale_inputs(data.x), scaling.scale_outputs(data.y)):
        np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-14)
        np.testing.assert_allclose(scaled.std(axis=0), 1.0, rtol=1e-13)


def test_moments_are_those_of_the_transformed_columns() -> None:
    scaling, (a, b, c) = Scaling.of(sample()), sample().x.T
    expected = [a, np.log(b), logit(c)]
    np.testing.assert_allclose(scaling.input_mean, [column.mean() for column in expected], rtol=1e-13)
    np.testing.assert_allclose(scaling.input_scale, [column.std() for column in expected], rtol=1e-13)


def test_transforms_are_those_of_the_columns() -> None:
    assert column_transforms([Variable("p", shape=(2,), transform="log"), Variable("q")]) == ("log", "log", None)
    scaling = Scaling.of(sample())
    assert scaling.input_transforms == scaling.output_transforms == (None, "log", "logit")


def test_outputs_survive_the_round_trip() -> None:
    data, scaling = sample(), Scaling.of(sample())
    np.testing.assert_allclose(scaling.unscale_outputs(scaling.scale_outputs(data.y)), data.y, rtol=1e-13)


def test_inputs_survive_the_round_trip() -> None:
    data, scaling = sample(), Scaling.of(sample())
    np.testing.assert_allclose(unscaled_inputs(scaling, scaling.scale_inputs(data.x)), data.x, rtol=1e-13)


def test_no_method_writes_into_its_arguments_or_returns_them() -> None:
    data, scaling = sample(), Scaling.of(sample())  # read-only arrays: a write would raise
    results = [
        scaling.scale_inputs(data.x),
        scaling.scale_outputs(data.y),
        scaling.unscale_outputs(np.zeros((12, 3))),
        scaling.scale_partials(data.x, data.y, data.partials),
        scaling.unscale_partials(data.x, data.y, data.partials),
    ]
    given = (data.x, data.y, data.partials)
    assert not any(np.shares_memory(result, array) for result in results for array in given)


def test_whole_numbers_are_scaled_like_floats() -> None:
    scaling, x = replace(Scaling.of(sample()), input_transforms=(None, "log", "log")), np.array([[1, 2, 3]])
    np.testing.assert_array_equal(scaling.scale_inputs(x), scaling.scale_inputs(x.astype(float)))


# Partials ------------------------------------------------------------------------------------------------------------


def test_scaled_partials_are_the_derivative_of_scaled_values() -> None:
    data, scaling, step = sample(), Scaling.of(sample()), 1e-6
    z = scaling.scale_inputs(data.x)
    up, down = (
        np.stack([scaling.scale_outputs(truth(unscaled_inputs(scaling, z + s * unit))) for unit in np.eye(3)], axis=2)
        for s in (step, -step)
    )
    scaled = scaling.scale_partials(data.x, data.y, data.partials)
    np.testing.assert_allclose(scaled, (up - down) / (2 * step), rtol=1e-7, atol=1e-8)


def test_partials_survive_the_round_trip() -> None:
    data, scaling = sample(), Scaling.of(sample())
    scaled = scaling.scale_partials(data.x, data.y, data.partials)
    np.testing.assert_allclose(scaling.unscale_partials(data.x, data.y, scaled), data.partials, rtol=1e-13)


def test_unknown_partials_stay_unknown_and_change_no_others() -> None:
    data, scaling = sample(), Scaling.of(sample())
    holes = np.where(np.random.default_rng(1).random((12, 3, 3)) < 0.5, np.nan, data.partials)
    scaled = scaling.scale_partials(data.x, data.y, holes)
    full = scaling.scale_partials(data.x, data.y, data.partials)
    np.testing.assert_array_equal(scaled, np.where(np.isnan(holes), np.nan, full))


@pytest.mark.parametrize("units", [1e-7, 1e-3, 1e6])
def test_a_change_of_units_does_not_change_scaled_data(units: float) -> None:
    one = plain(sample().x[:, 0], sample().y[:, 0], sample().partials[:, 0, 0])
    other = Dataset(one.x * units, one.y / units, one.partials / units**2)
    scaled = [Scaling.of(d).scale_partials(d.x, d.y, d.partials) for d in (one, other)]
    np.testing.assert_allclose(scaled[1], scaled[0], rtol=1e-12)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_complex_step_through_scale_inputs_is_its_derivative(column: int) -> None:
    data, scaling = sample(), Scaling.of(sample())
    stepped = data.x + 1e-30j * np.eye(3)[column]
    rate = np.array([np.ones(12), 1 / data.x[:, 1], 1 / (data.x[:, 2] * (1 - data.x[:, 2]))])[column]
    expected = np.outer(rate / scaling.input_scale[column], np.eye(3)[column])
    scaled = scaling.scale_inputs(stepped)
    np.testing.assert_allclose(scaled.imag / 1e-30, expected, rtol=1e-13)
    np.testing.assert_allclose(scaled.real, scaling.scale_inputs(data.x), rtol=1e-13)


@pytest.mark.parametrize("u", [-40.0, -3.0, 0.0, 0.5, 3.0])
def test_complex_step_through_unscale_outputs_is_its_derivative(u: float) -> None:
    scaling = replace(Scaling.of(sample()), input_mean=np.zeros(1), input_scale=np.ones(1), input_transforms=(None,))
    y = scaling.unscale_outputs(np.full((1, 3), u))
    stepped = scaling.unscale_outputs(np.full((1, 3), u + 1e-30j))
    by_rule = scaling.unscale_partials(np.zeros((1, 1)), y, np.ones((1, 3, 1)))[..., 0]
    np.testing.assert_allclose(stepped.imag / 1e-30, by_rule, rtol=1e-12)
    np.testing.assert_allclose(stepped.real, y, rtol=1e-14)


# Constant columns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [0.0, 0.0, 0.0], [0.3, 0.1 + 0.2, 0.3], [1e12, 1e12, 1e12]])
def test_column_constant_up_to_rounding_is_constant(values: list[float]) -> None:
    scaling = Scaling.of(plain(np.array(values), np.arange(3.0)))
    assert scaling.constant.all() and scaling.input_scale[0] == 0.0


@pytest.mark.parametrize("values", [[1e12, 1e12 + 1, 1e12 + 2], [1e-7, 2e-7, 3e-7], [0.0, 0.0, 1e-150]])
def test_column_that_varies_beyond_rounding_is_not_constant(values: list[float]) -> None:
    assert not Scaling.of(plain(np.array(values), np.arange(3.0))).constant.any()


def test_constant_input_has_zero_values_and_zero_partials() -> None:
    x = np.column_stack([np.arange(4.0), np.full(4, 5.0)])
    data = Dataset(x, x[:, :1] ** 2, np.ones((4, 1, 2)))
    scaling = Scaling.of(data)
    scaled = scaling.scale_partials(x, data.y, data.partials)
    unscaled = scaling.unscale_partials(x, data.y, np.ones((4, 1, 2)))
    assert (scaling.scale_inputs(x + 1.0)[:, 1] == 0.0).all()
    assert (scaled[..., 1] == 0.0).all() and (unscaled[..., 1] == 0.0).all()
    assert (scaled[..., 0] != 0.0).all() and (unscaled[..., 0] != 0.0).all()


def test_constant_output_takes_its_scale_from_its_steepest_sample() -> None:
    x, dydx = np.random.default_rng(2).normal(size=(5, 2)), np.random.default_rng(3).normal(size=(5, 1, 2))
    data = Dataset(x, np.full((5, 1), 7.0), dydx)
    scaled = Scaling.of(data).scale_partials(x, data.y, dydx)
    assert np.linalg.norm(scaled, axis=2).max() == pytest.approx(1.0, rel=1e-14)


def test_unknown_partials_have_no_effect_on_the_scale_of_a_constant_output() -> None:
    scaling = Scaling.of(plain(np.array([-1.0, 1.0, -1.0]), np.zeros(3), np.array([np.nan, 3.0, -4.0])))
    assert scaling.output_scale[0] == pytest.approx(4.0 * np.sqrt(8 / 9), rel=1e-14)


@pytest.mark.parametrize("dydx", [None, np.zeros(4), np.full(4, np.nan)])
def test_constant_output_without_slopes_has_unit_scale(dydx: np.ndarray | None) -> None:
    data = plain(np.arange(4.0), np.full(4, 7.0), dydx)
    scaling = Scaling.of(data)
    assert scaling.output_scale.tolist() == [1.0]
    assert (scaling.scale_outputs(data.y) == 0.0).all()


def test_partials_do_not_change_the_scale_of_an_output_that_varies() -> None:
    data = plain(np.arange(4.0), np.array([1.0, -1.0, 1.0, -1.0]), np.full(4, 50.0))
    assert Scaling.of(data).output_scale[0] == 1.0


# Extremes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-7, 1e-12, 1e12])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_tiny_and_huge_columns_survive(size: float, offset: float) -> None:
    column = size * (offset + np.random.default_rng(4).normal(size=9))
    data = plain(column, column**2 / size, 2 * column / size)
    scaling = Scaling.of(data)
    assert scaling.scale_outputs(data.y).std() == pytest.approx(1.0, rel=1e-12)
    assert scaling.scale_inputs(data.x).std() == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(scaling.unscale_outputs(scaling.scale_outputs(data.y)), data.y, rtol=1e-11)
    back = scaling.unscale_partials(data.x, data.y, scaling.scale_partials(data.x, data.y, data.partials))
    np.testing.assert_allclose(back, data.partials, rtol=1e-12)


@pytest.mark.parametrize(("u", "saturated"), [(1e3, 1.0), (1e9, 1.0), (-1e3, 0.0), (-1e9, 0.0)])
def test_saturated_logit_has_zero_partials(u: float, saturated: float) -> None:
    data = plain(np.arange(3.0), np.array([0.2, 0.5, 0.9]))
    scaling = Scaling.of(replace(data, outputs=OUTPUTS[2:]))
    with np.errstate(all="raise", under="ignore"):
        y = scaling.unscale_outputs(np.full((3, 1), u))
        partials = scaling.unscale_partials(data.x, y, np.ones((3, 1, 1)))
    assert (y == saturated).all()
    assert (partials == 0.0).all()


# Domain --------------------------------------------------------------------------------------------------------------


def of_x(x: np.ndarray, variable: Variable) -> object:
    return Scaling.of(Dataset(x, np.ones((len(x), 1)), inputs=[variable]))


def of_y(y: np.ndarray, variable: Variable) -> object:
    return Scaling.of(Dataset(np.ones((len(y), 1)), y, outputs=[variable]))


def at_x(x: np.ndarray, variable: Variable) -> None:
    check_input_domain(x, [variable])


CHECKS = pytest.mark.parametrize(("check", "argument"), [(of_x, "x"), (of_y, "y"), (at_x, "x")])


@CHECKS
@pytest.mark.parametrize(
    ("transform", "domain", "bad"),
    [("log", "be positive", 0.0), ("log", "be positive", -2.0)]
    + [("logit", r"lie in \(0, 1\)", bad) for bad in (0.0, 1.0, -0.5, 1.5)],
)
def test_value_outside_the_domain_of_its_transform_is_rejected(
    check: Callable[[np.ndarray, Variable], object], argument: str, transform: str, domain: str, bad: float
) -> None:
    values = np.array([[0.5, 0.5], [0.4, 0.4], [0.3, bad], [0.2, bad]])
    message = (
        rf"`{argument}` must {domain} in column 'v\[1\]', which has transform '{transform}', got {bad} in row 2\. "
        r"Drop those samples or the transform\."
    )
    with pytest.raises(InputError, match=message):
        check(values, Variable("v", shape=(2,), transform=transform))


def test_domain_of_complex_numbers_is_that_of_their_real_part() -> None:
    check_input_domain(np.array([[0.0, 9.0, 0.5]]) + 1e-30j, INPUTS)
    with pytest.raises(InputError, match="be positive in column 'b'.*got 0.0 in row 0"):
        check_input_domain(np.array([[0.0, 0.0, 0.5]]) + 1e-30j, INPUTS)


@pytest.mark.parametrize("u", [1e4, 1e300, -1e4])
def test_log_prediction_far_outside_the_data_stays_finite(u: float) -> None:
    """Neither the value nor its partials overflow, nor does NumPy warn; complex numbers do not either."""
    data = sample()
    scaling = Scaling.of(data)
    outputs = np.full((1, 3), u)
    y = scaling.unscale_outputs(outputs)
    assert np.isfinite(y).all() and y[0, 1] >= 0.0
    assert np.isfinite(scaling.unscale_partials(data.x[:1], y, np.ones((1, 3, 3)))).all()
    stepped = scaling.unscale_outputs(outputs + 1e-30j)
    assert np.isfinite(stepped).all()
    assert stepped.real == pytest.approx(y)


def test_log_predictions_short_of_the_overflow_are_exact() -> None:
    scaling = replace(Scaling.of(sample()), output_mean=np.zeros(3), output_scale=np.ones(3))
    u = np.array([-700.0, 0.0, 600.0, 699.0])[:, None] * np.ones(3)
    np.testing.assert_allclose(scaling.unscale_outputs(u)[:, 1], np.exp(u[:, 1]), rtol=1e-15)


@pytest.mark.parametrize(
    ("x", "y", "dydx", "message"),
    [
        (1e-310, 1.0, None, r"`x` must vary by 1e-306 to 1e\+306 in column 'x', got a scale of .*e-311"),
        (1.0, 1e-308, None, r"`y` must vary by 1e-306 to 1e\+306 in column 'y', got a scale of .*e-309"),
        (1.0, 1.7e308, None, r"`y` must vary by 1e-306 to 1e\+306 in column 'y', got a scale of .*e\+307"),
        (1e200, 0.0, 1e200, r"`y` must vary by 1e-306 to 1e\+306 in column 'y', got a scale of inf"),
    ],
)
def test_scales_beyond_the_range_of_numbers_are_refused(x: float, y: float, dydx: float | None, message: str) -> None:
    at = np.linspace(0.0, 1.0, 5)[:, None]
    partials = None if dydx is None else np.full((5, 1, 1), dydx)
    with pytest.raises(InputError, match=message + r" \(standard deviation, or that of its partials\)\. Write the col"):
        Scaling.of(Dataset(x * at, y * at, partials))


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_a_constant_output_has_the_scale_of_its_steepest_partials_whatever_their_size(size: float) -> None:
    x = np.array([[-1.0, 0.0], [1.0, 0.0], [-1.0, 2.0], [1.0, 2.0]])
    dydx = np.zeros((4, 1, 2))
    dydx[2] = [-3.0 * size, 4.0 * size]
    np.testing.assert_allclose(Scaling.of(Dataset(x, np.ones((4, 1)), dydx)).output_scale, [5.0 * size], rtol=1e-12)


def test_a_constant_output_with_partials_of_nearly_zero_has_the_scale_one() -> None:
    data = Dataset(np.arange(3.0)[:, None], np.ones((3, 1)), np.full((3, 1, 1), 1e-310))
    assert Scaling.of(data).output_scale.tolist() == [1.0]
