"""Properties of variables, datasets and scaling, for any shapes, bounds, transforms and values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, logit

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling
from gradopt.data.variables import TRANSFORMS, Variable, column_slices, flatten, total_size, unflatten

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)
FRACTIONS = st.floats(0.01, 0.99)
SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)
UNITS = st.sampled_from([None, "m", "deg", "kg*m**2"])
STEP = 1e-30  # of the complex step


@st.composite
def variable(draw: st.DrawFn, name: str = "x") -> Variable:
    shape, transform = draw(SHAPES), draw(st.sampled_from(TRANSFORMS))
    low = draw(
        arrays(float, shape, elements=st.sampled_from([-np.inf, 0.0, 0.25] if transform is None else [0.0, 0.25]))
    )
    high = draw(
        arrays(float, shape, elements=st.sampled_from([0.5, 1.0] if transform == "logit" else [0.5, 7.0, np.inf]))
    )
    return Variable(
        name,
        shape,
        draw(UNITS),
        lower=draw(st.sampled_from([None, low])),
        upper=draw(st.sampled_from([None, high])),
        transform=transform,
    )


@st.composite
def variables(draw: st.DrawFn, letter: str = "x", most: int = 3) -> tuple[Variable, ...]:
    return tuple(draw(variable(f"{letter}{index}")) for index in range(draw(st.integers(1, most))))


@st.composite
def datasets(draw: st.DrawFn, inputs: tuple[Variable, ...], outputs: tuple[Variable, ...]) -> Dataset:
    n, m, d = draw(st.integers(1, 5)), total_size(outputs), total_size(inputs)
    partials = arrays(float, (n, m, d), elements=st.one_of(st.just(np.nan), NUMBERS), fill=NUMBERS)
    x, y = (draw(arrays(float, (n, columns), elements=NUMBERS)) for columns in (d, m))
    return Dataset(x, y, draw(partials), inputs, outputs)


def physical(t: np.ndarray, transform: str | None) -> np.ndarray:
    return np.exp(t) if transform == "log" else expit(t) if transform == "logit" else t


def transformed(v: np.ndarray, transform: str | None) -> np.ndarray:
    return np.log(v) if transform == "log" else logit(v) if transform == "logit" else v


@st.composite
def problems(draw: st.DrawFn) -> tuple[Dataset, np.random.Generator]:
    """Data with transforms; columns have any size and offset, and an input column may be constant."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, arrays_of = draw(st.integers(2, 6)), {}
    for letter in "xy":
        transforms = draw(st.lists(st.sampled_from(TRANSFORMS), min_size=1, max_size=3))
        columns = []
        for transform in transforms:
            size = 1.0 if transform else 10.0 ** draw(st.integers(-6, 6))
            spread = draw(st.sampled_from([0.0, 1.0])) if letter == "x" else 1.0
            columns.append(physical(size * (rng.uniform(-2.0, 2.0) + spread * rng.uniform(-1.0, 1.0, n)), transform))
        arrays_of[letter] = (
            np.stack(columns, axis=1),
            [Variable(f"{letter}{index}", transform=transform) for index, transform in enumerate(transforms)],
        )
    (x, inputs), (y, outputs) = arrays_of["x"], arrays_of["y"]
    dydx = rng.standard_normal((n, y.shape[1], x.shape[1]))
    dydx[rng.random(dydx.shape) < 0.2] = np.nan
    return Dataset(x, y, dydx, inputs, outputs), rng


# Variables -----------------------------------------------------------------------------------------------------------


@given(st.data(), variables(), st.sampled_from([(), (1,), (4,)]))
def test_unflatten_and_flatten_are_inverse(data: st.DataObject, some: tuple[Variable, ...], n: tuple[int, ...]) -> None:
    flat = data.draw(arrays(float, (*n, total_size(some)), elements=NUMBERS))
    named = unflatten(flat, some)
    assert {name: value.shape for name, value in named.items()} == {v.name: (*n, *v.shape) for v in some}
    assert np.array_equal(flatten(named, some), flat)
    for v in some:
        assert np.array_equal(flat[..., column_slices(some)[v.name]].ravel(), named[v.name].ravel())


@given(variable())
def test_a_variable_survives_json(one: Variable) -> None:
    back = Variable.from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False)))
    assert back == one
    assert hash(back) == hash(one)


# Datasets ------------------------------------------------------------------------------------------------------------


@given(st.data(), variables("x", 2), variables("y", 2))
def test_select_takes_apart_what_concat_joined(data: st.DataObject, inputs: Any, outputs: Any) -> None:
    one, other = (data.draw(datasets(inputs, outputs)) for _ in range(2))
    both = one.concat(other)
    assert both.n == one.n + other.n
    assert both.select(np.arange(one.n)).digest == one.digest
    assert both.select(np.arange(both.n) >= one.n).digest == other.digest


@given(st.data(), variables("x", 2), variables("y", 2))
def test_selections_in_turn_are_one_selection(data: st.DataObject, inputs: Any, outputs: Any) -> None:
    dataset = data.draw(datasets(inputs, outputs))
    first = np.array(data.draw(st.lists(st.integers(-dataset.n, dataset.n - 1), min_size=1, max_size=6)))
    second = np.array(data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1, max_size=6)))
    found = dataset.select(first).select(second)
    assert found.digest == dataset.select(first[second]).digest
    assert np.array_equal(found.partials, dataset.partials[first[second]], equal_nan=True)


# Scaling -------------------------------------------------------------------------------------------------------------


@given(problems())
def test_scaled_columns_return_to_physical_units(problem: tuple[Dataset, np.random.Generator]) -> None:
    data, _ = problem
    scaling = Scaling.of(data)
    t = np.stack([transformed(x, of) for x, of in zip(data.x.T, scaling.input_transforms, strict=True)], axis=1)
    z = scaling.scale_inputs(data.x)
    assert not z[:, scaling.constant].any()
    again = z * scaling.input_scale + scaling.input_mean
    np.testing.assert_allclose(again, t, rtol=1e-12, atol=1e-12 * np.abs(t).max())
    y = scaling.unscale_outputs(scaling.scale_outputs(data.y))
    np.testing.assert_allclose(y, data.y, rtol=1e-12, atol=1e-12 * np.abs(data.y).max())


@given(problems())
def test_scaled_partials_return_to_physical_units(problem: tuple[Dataset, np.random.Generator]) -> None:
    data, _ = problem
    scaling = Scaling.of(data)
    again = scaling.unscale_partials(data.x, data.y, scaling.scale_partials(data.x, data.y, data.partials))
    expected = np.where(scaling.constant & ~np.isnan(data.partials), 0.0, data.partials)
    np.testing.assert_allclose(again, expected, rtol=1e-12)


@given(problems())
def test_partials_follow_the_chain_rule(problem: tuple[Dataset, np.random.Generator]) -> None:
    data, rng = problem
    scaling = Scaling.of(data)
    assume(not scaling.constant.all())
    dudz = rng.standard_normal((data.m, data.d))
    y = scaling.unscale_outputs(scaling.scale_inputs(data.x) @ dudz.T)
    by_step = np.empty_like(data.partials)
    for column in range(data.d):
        x = data.x.astype(complex)
        x[:, column] += 1j * STEP
        by_step[:, :, column] = scaling.unscale_outputs(scaling.scale_inputs(x) @ dudz.T).imag / STEP
    dydx = scaling.unscale_partials(data.x, y, np.broadcast_to(dudz, data.partials.shape))
    assert not dydx[:, :, scaling.constant].any()
    np.testing.assert_allclose(dydx, by_step, rtol=1e-9, atol=1e-9 * np.abs(by_step).min(initial=1.0))
