"""Datasets: accepted arguments, copies and messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from gradopt.data.arrays import as_floats, check_matrix
from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.errors import InputError, ShapeError

N, M, D = 6, 2, 3
INPUTS = (Variable("a", units="m"), Variable("b", shape=(2,)))
OUTPUTS = (Variable("f"), Variable("g"))


def arrays(seed: int = 0) -> dict[str, Any]:
    """Keyword arguments of a dataset whose partials are known in about half of the entries."""
    rng = np.random.default_rng(seed)
    dydx = rng.normal(size=(N, M, D))
    dydx[rng.random(size=dydx.shape) < 0.5] = np.nan
    return {"x": rng.normal(size=(N, D)), "y": rng.normal(size=(N, M)), "dydx": dydx}


def sample(seed: int = 0) -> Dataset:
    return Dataset(**arrays(seed), inputs=INPUTS, outputs=OUTPUTS)


def assert_same(one: Dataset, other: Dataset) -> None:
    for name in ("x", "y", "dydx"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.inputs, one.outputs) == (other.inputs, other.outputs)


# What it keeps -------------------------------------------------------------------------------------------------------


def test_sizes_are_those_of_the_arrays() -> None:
    assert (sample().n, sample().m, sample().d) == (N, M, D)


def test_without_variables_columns_are_named_after_the_arrays() -> None:
    data = Dataset(**arrays())
    assert data.input_variables == (Variable("x", shape=(D,)),)
    assert data.output_variables == (Variable("y", shape=(M,)),)


def test_variables_are_kept_as_tuples() -> None:
    data = replace(sample(), inputs=list(INPUTS), outputs=list(OUTPUTS))
    assert (data.inputs, data.outputs) == (INPUTS, OUTPUTS)
    assert (data.input_variables, data.output_variables) == (INPUTS, OUTPUTS)


def test_without_dydx_no_partial_is_known() -> None:
    data = replace(sample(), dydx=None)
    assert data.partials.shape == (N, M, D)
    assert not data.known.any()


def test_nan_marks_a_partial_as_not_known() -> None:
    np.testing.assert_array_equal(sample().known, ~np.isnan(arrays()["dydx"]))


def test_lists_and_whole_numbers_become_float64() -> None:
    data = Dataset(x=[[1], [2]], y=[[True], [False]], dydx=[[[1]], [[2]]])  # type: ignore[arg-type]
    assert data.x.dtype == data.y.dtype == data.partials.dtype == np.float64


@pytest.mark.parametrize("name", ["x", "y", "dydx"])
def test_dataset_does_not_alias_its_inputs(name: str) -> None:
    given = arrays()
    data = Dataset(**given)
    given[name][:] = 7.0
    np.testing.assert_array_equal(getattr(data, name), arrays()[name])


@pytest.mark.parametrize("name", ["x", "y", "dydx"])
def test_arrays_are_read_only(name: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        getattr(sample(), name)[0] = 7.0


def test_unknown_partials_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        replace(sample(), dydx=None).partials[0] = 7.0


def test_dataset_leaves_the_arrays_of_the_caller_writeable() -> None:
    given = arrays()
    Dataset(**given)
    assert all(array.flags.writeable for array in given.values())


def test_dataset_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError, match="x"):
        sample().x = np.zeros((N, D))  # type: ignore[misc]


def test_datasets_are_compared_and_hashed_by_identity() -> None:
    data = sample()
    assert data == data and data != sample()
    assert len({data, data, sample()}) == 2


# What it rejects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ((N,), (N, M), r"`x` must have shape \(n, d\), got \(6,\)\. For one column pass `x\[:, None\]`, for one samp"),
        (
            (N, D),
            (N,),
            r"`y` must have shape \(n, m\), got \(6,\)\. .* `y\[:, None\]`, for one sample `y\[None, :\]`\.",
        ),
        ((N, D, 1), (N, M), r"`x` must have shape \(n, d\), got \(6, 3, 1\)\. Samples come first, then columns\."),
        ((), (N, M), r"`x` must have shape \(n, d\), got \(\)\. Samples come first, then columns\."),
        ((N, D), (5, M), r"`y` must have as many rows as `x`, 6, got \(5, 2\)\. Samples come first in both\."),
        ((D, N), (M, N), r"`y` must have as many rows as `x`, 3, got \(2, 6\)\. .* pass `x\.T` and `y\.T`\."),
        ((D, N), (N, M), r"`y` must have as many rows as `x`, 3, got \(6, 2\)\. .* pass `x\.T`\."),
        ((N, D), (M, N), r"`y` must have as many rows as `x`, 6, got \(2, 6\)\. .* pass `y\.T`\."),
        (
            (0, D),
            (0, M),
            r"`x` must hold at least one sample and column, as `y`, got shape \(0, 3\) and `y` \(0, 2\)\.",
        ),
        (
            (N, 0),
            (N, M),
            r"`x` must hold at least one sample and column, as `y`, got shape \(6, 0\) and `y` \(6, 2\)\.",
        ),
        (
            (N, D),
            (N, 0),
            r"`x` must hold at least one sample and column, as `y`, got shape \(6, 3\) and `y` \(6, 0\)\.",
        ),
    ],
)
def test_dataset_rejects_values_of_other_shape(x: tuple[int, ...], y: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Dataset(np.zeros(x), np.zeros(y))


def test_dataset_rejects_an_input_and_an_output_of_one_name() -> None:
    message = r"`outputs` must have other names than `inputs`, got \['a', 'f'\]\. .* rename one\."
    with pytest.raises(InputError, match=message):
        Dataset(
            np.zeros((N, 2)), np.zeros((N, 2)), None, (Variable("a"), Variable("f")), (Variable("f"), Variable("a"))
        )


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((N, D, M), r"\(6, 3, 2\)\. If it is \(n, d, m\), pass `dydx\.swapaxes\(1, 2\)`\."),
        ((M, D, N), r"\(2, 3, 6\)\. If it is \(m, d, n\), pass `dydx\.transpose\(2, 0, 1\)`\."),
        ((N, D), r"\(6, 3\)\. Index order is sample, of, wrt\."),
        ((N - 1, M, D), r"\(5, 2, 3\)\. Index order is sample, of, wrt\."),
    ],
)
def test_dataset_rejects_partials_of_other_shape(shape: tuple[int, ...], remedy: str) -> None:
    with pytest.raises(ShapeError, match=r"`dydx` must have shape \(n, m, d\) = \(6, 2, 3\), got " + remedy):
        Dataset(np.zeros((N, D)), np.zeros((N, M)), np.zeros(shape))


def test_dataset_rejects_flat_partials_of_one_output() -> None:
    message = r"= \(6, 1, 3\), got \(6, 3\)\. With one output pass `dydx\[:, None, :\]`\."
    with pytest.raises(ShapeError, match=message):
        Dataset(np.zeros((N, D)), np.zeros((N, 1)), np.zeros((N, D)))


@pytest.mark.parametrize("axes", [(0, 2, 1), (1, 2, 0)])
def test_remedy_for_transposed_partials_can_be_pasted(axes: tuple[int, int, int]) -> None:
    given = arrays()
    dydx = given["dydx"].transpose(axes)
    with pytest.raises(ShapeError, match="pass `(.*)`") as caught:
        Dataset(given["x"], given["y"], dydx)
    remedy = str(caught.value).rsplit("pass ")[1].strip("`.")
    np.testing.assert_array_equal(eval(remedy, {"dydx": dydx}), given["dydx"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "column"), [("x", r"b\[0\]"), ("y", "g")])
def test_dataset_rejects_non_finite_value_and_says_where(name: str, column: str, bad: float) -> None:
    given = arrays()
    given[name][[2, 4], 1] = bad
    message = (
        rf"`{name}` must be finite, got {bad} in row 2, column '{column}' \(2 bad rows of 6\)\. Drop those samples"
    )
    with pytest.raises(InputError, match=message):
        Dataset(**given, inputs=INPUTS, outputs=OUTPUTS)


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_dataset_rejects_infinite_partial_and_says_where(bad: float) -> None:
    given = arrays()
    given["dydx"][3, 1, 2] = bad
    message = rf"`dydx` must be finite or NaN, got {bad} at \[3, 1, 2\]\. Mark it NaN: not known\."
    with pytest.raises(InputError, match=message):
        Dataset(**given)


@pytest.mark.parametrize("name", ["x", "y", "dydx"])
@pytest.mark.parametrize("dtype", [np.complex128, np.str_, np.object_])
def test_dataset_rejects_what_are_no_real_numbers(name: str, dtype: type[Any]) -> None:
    given = arrays()
    given[name] = given[name].astype(dtype)
    with pytest.raises(InputError, match=rf"`{name}` must hold real numbers, got dtype .*\. Convert it to float64"):
        Dataset(**given)


def test_dataset_rejects_ragged_rows() -> None:
    with pytest.raises(InputError, match=r"`x` must be a regular array, got \[\[1\.0, 2\.0\], \[3\.0\]\]\. Give"):
        Dataset(x=[[1.0, 2.0], [3.0]], y=[[1.0], [2.0]])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": INPUTS[:1]}, r"`inputs` must cover the 3 columns of `x`, got 1 \(a: 1\)"),
        (
            {"outputs": [*OUTPUTS, Variable("h")]},
            r"`outputs` must cover the 2 columns of `y`, got 3 \(f: 1, g: 1, h: 1",
        ),
        ({"outputs": (OUTPUTS[0], OUTPUTS[0])}, r"`outputs` must have different names.*Rename one\."),
    ],
)
def test_dataset_rejects_variables_that_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(sample(), **fields)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dataset([[1.0, 2.0], [3.0]], [[1.0], [2.0]]),  # type: ignore[arg-type]
        lambda: Dataset(np.zeros((0, D)), np.zeros((0, M))),
        lambda: Dataset(np.zeros((N, D)), np.zeros((N, M)), inputs=INPUTS[:1]),
    ],
    ids=["ragged", "empty", "variables"],
)
def test_every_message_ends_with_a_remedy(make: Callable[[], Dataset]) -> None:
    with pytest.raises(InputError, match=r"got .*\. \S.*[.?]$"):
        make()


# Arrays from outside -------------------------------------------------------------------------------------------------


def test_complex_numbers_pass_where_complex_step_may_come() -> None:
    given = np.array([1.0 + 2.0j])
    result = as_floats("x", given, allow_complex=True)
    assert result.dtype == np.complex128 and not np.shares_memory(result, given)
    assert as_floats("x", [1], allow_complex=True).dtype == np.float64


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 3), r"shape \(n, d\) = \(n, 2\), got \(4, 3\)\. Samples come first, then columns in the order of the var"),
        ((2, 4), r"shape \(n, d\) = \(n, 2\), got \(2, 4\)\. If samples are its columns, .* pass `x\.T`\."),
        ((2,), r"shape \(n, d\) = \(n, 2\), got \(2,\)\. .* for one sample `x\[None, :\]`\."),
    ],
)
def test_matrix_of_other_width_is_rejected_with_a_remedy(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        check_matrix("x", np.zeros(shape), 2, "(n, d)")


def test_square_matrix_is_taken_as_sample_first() -> None:
    check_matrix("x", np.zeros((2, 2)), 2, "(n, d)")
