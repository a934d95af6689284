"""Variables, and conversion between named arrays and flat columns."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from gradopt.data.variables import (
    Variable,
    check_same_variables,
    check_variables,
    column_bounds,
    column_names,
    column_slices,
    flatten,
    total_size,
    unflatten,
)
from gradopt.errors import FileFormatError, InputError, ShapeError

CHORD = Variable("chord", units="m", lower=0.5, upper=2.0)
TWIST = Variable("twist", shape=(2, 3), units="deg", lower=np.arange(6.0).reshape(2, 3), upper=9.0)
MACH = Variable("mach", upper=0.9)
ALL = (CHORD, TWIST, MACH)


@pytest.mark.parametrize(("shape", "expected"), [(3, (3,)), ((2, 3), (2, 3)), ([4], (4,)), ((np.int64(2),), (2,))])
def test_shape_becomes_a_tuple_of_int(shape: Any, expected: tuple[int, ...]) -> None:
    variable = Variable("x", shape=shape)
    assert variable.shape == expected
    assert all(type(size) is int for size in variable.shape)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (CHORD, ["chord"]),
        (Variable("x", shape=(2,)), ["x[0]", "x[1]"]),
        (TWIST, ["twist[0,0]", "twist[0,1]", "twist[0,2]", "twist[1,0]", "twist[1,1]", "twist[1,2]"]),
    ],
)
def test_columns_are_named_in_c_order(variable: Variable, expected: list[str]) -> None:
    assert variable.columns == expected


def test_scalar_bound_holds_for_every_column() -> None:
    np.testing.assert_array_equal(TWIST.bounds[1], np.full(6, 9.0))


def test_array_bound_is_flattened_in_c_order() -> None:
    np.testing.assert_array_equal(TWIST.bounds[0], np.arange(6.0))


def test_missing_bounds_are_infinite() -> None:
    low, high = Variable("x", shape=(2,)).bounds
    assert (low == -np.inf).all() and (high == np.inf).all()


def test_bounds_alias_neither_the_argument_nor_the_variable() -> None:
    lower = np.zeros(2)
    variable = Variable("x", shape=(2,), lower=lower)
    lower[:] = 7.0
    variable.bounds[0][:] = 8.0
    np.testing.assert_array_equal(variable.bounds[0], [0.0, 0.0])


def test_variable_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError, match="name"):
        CHORD.name = "span"  # type: ignore[misc]


def test_equal_variables_hash_alike_whatever_form_the_bounds_had() -> None:
    one, other = Variable("x", shape=(2,), lower=0), Variable("x", shape=(2,), lower=np.zeros(2))
    assert one == other and hash(one) == hash(other)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, r"`name` must be a non-empty string that names a variable, got ''\. .* Variable\('x'\)\."),
        ({"name": "a b"}, r"`name` must .*, got 'a b'\. Use letters, digits, underscores and colons"),
        ({"units": "furlongz"}, r"`units` must be valid OpenMDAO units, got 'furlongz'\. Use units such as 'm/s'"),
        ({"units": 3}, r"`units` must be valid OpenMDAO units, got 3"),
        ({"name": 3}, r"`name` must be a non-empty string that names a variable, got 3\."),
        ({"shape": ()}, r"`shape` must hold positive whole numbers, got \(\)\. For a scalar 'x' use \(1,\)\."),
        ({"shape": (2, 0)}, r"`shape` must hold positive whole numbers, got \(2, 0\)\. For a scalar 'x' use \(1,\)\."),
        ({"shape": (1.5,)}, r"`shape` must hold positive whole numbers, got \(1\.5,\)\. For a scalar 'x' use \(1,\)\."),
        ({"transform": "exp"}, r"`transform` must be None, 'log' or 'logit', got 'exp'\. Variable 'x'\."),
        ({"lower": 2, "upper": 1}, r"`lower` must be below `upper` for 'x', got \(2\.0,\) and \(1\.0,\)\. Swap them\?"),
        ({"lower": 1, "upper": 1}, r"`lower` must be below `upper` for 'x'"),
        ({"lower": np.nan}, r"`lower` must not hold NaN, got nan\. Use None for an unbounded variable\."),
        ({"upper": np.nan}, r"`upper` must not hold NaN, got nan\. Use None for an unbounded variable\."),
        ({"lower": -1, "transform": "log"}, r"`lower` must not be negative with transform 'log'.*Drop either\."),
        ({"lower": -1, "transform": "logit"}, r"`lower` must not be negative with transform 'logit'.*Drop either\."),
    ],
)
def test_variable_rejects_wrong_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Variable(**{"name": "x", **fields})


@pytest.mark.parametrize("side", ["lower", "upper"])
def test_variable_rejects_bound_of_other_size(side: str) -> None:
    message = rf"`{side}` must be a number or have shape \(2, 3\), got shape \(2,\)\. See 'x'\."
    with pytest.raises(ShapeError, match=message):
        Variable("x", shape=(2, 3), **{side: [0.0, 1.0]})  # type: ignore[arg-type]


def test_variable_rejects_transposed_bound() -> None:
    with pytest.raises(ShapeError, match=r"`lower` must be a number or have shape \(2, 3\), got shape \(3, 2\)"):
        Variable("x", shape=(2, 3), lower=np.zeros((3, 2)))


@pytest.mark.parametrize(("transform", "upper"), [("log", -1.0), ("logit", 0.0), ("logit", 2.0)])
def test_variable_rejects_upper_bound_outside_the_domain_of_its_transform(transform: str, upper: float) -> None:
    with pytest.raises(InputError, match=f"`upper` must .*{transform!r}"):
        Variable("x", upper=upper, transform=transform)


@pytest.mark.parametrize("transform", ["log", "logit"])
def test_zero_is_a_fine_lower_bound_with_transform(transform: str) -> None:
    assert Variable("x", lower=0.0, upper=1.0, transform=transform).lower == (0.0,)


@pytest.mark.parametrize("variable", [*ALL, Variable("p", shape=(2,), transform="logit")])
def test_dict_survives_json(variable: Variable) -> None:
    assert Variable.from_dict(json.loads(json.dumps(variable.to_dict()))) == variable


def test_columns_of_several_variables_follow_each_other() -> None:
    assert total_size(ALL) == 8
    assert column_names(ALL) == ["chord", *TWIST.columns, "mach"]
    assert column_slices(ALL) == {"chord": slice(0, 1), "twist": slice(1, 7), "mach": slice(7, 8)}


def test_column_bounds_follow_the_columns() -> None:
    low, high = column_bounds(ALL)
    np.testing.assert_array_equal(low, [0.5, 0, 1, 2, 3, 4, 5, -np.inf])
    np.testing.assert_array_equal(high, [2.0, 9, 9, 9, 9, 9, 9, 0.9])


def test_flatten_joins_arrays_in_the_order_of_the_variables() -> None:
    flat = flatten({"mach": [8.0], "twist": np.arange(1.0, 7.0).reshape(2, 3), "chord": [0.0]}, ALL)
    np.testing.assert_array_equal(flat, [0, 1, 2, 3, 4, 5, 6, 8])


def test_flatten_takes_a_bare_number_for_a_scalar() -> None:
    np.testing.assert_array_equal(flatten({"chord": 1.5}, [CHORD]), [1.5])


@pytest.mark.parametrize("samples", [(), (1,), (5,)])
def test_unflatten_is_the_inverse_of_flatten(samples: tuple[int, ...]) -> None:
    flat = np.random.default_rng(0).normal(size=(*samples, 8))
    named = unflatten(flat, ALL)
    assert {name: array.shape for name, array in named.items()} == {v.name: (*samples, *v.shape) for v in ALL}
    np.testing.assert_array_equal(flatten(named, ALL), flat)


def test_flatten_does_not_alias_its_input() -> None:
    value = np.ones(1)
    flatten({"chord": value}, [CHORD])[:] = 7.0
    assert value[0] == 1.0


@pytest.mark.parametrize("values", [{"chord": 1.0}, {"chord": 1.0, "mach": 0.5, "match": 0.5}])
def test_flatten_rejects_missing_and_unknown_names(values: dict[str, float]) -> None:
    message = r"`values` must have exactly the names \['chord', 'mach'\], got \['chord'.*\]\. Check the spelling\."
    with pytest.raises(InputError, match=message):
        flatten(values, [CHORD, MACH])


@pytest.mark.parametrize("shape", [(3, 2), (6,), (5, 6), (), (5, 1, 2, 3)])
def test_flatten_rejects_other_shape(shape: tuple[int, ...]) -> None:
    message = r"`values\['twist'\]` must have shape \(2, 3\) or \(n, 2, 3\), got \(.*\)\. Reshape it\."
    with pytest.raises(ShapeError, match=message):
        flatten({"twist": np.zeros(shape)}, [TWIST])


def test_flatten_rejects_different_numbers_of_samples() -> None:
    message = r"`values` must hold equally many samples for each name, got \[\(2, 1\), \(3, 1\)\]\. Check these\."
    with pytest.raises(ShapeError, match=message):
        flatten({"chord": np.ones((2, 1)), "mach": np.ones((3, 1))}, [CHORD, MACH])


def test_flatten_rejects_one_sample_beside_many() -> None:
    with pytest.raises(ShapeError, match="must hold equally many samples for each name"):
        flatten({"chord": np.ones(1), "mach": np.ones((3, 1))}, [CHORD, MACH])


def test_check_variables_makes_one_of_the_array_when_there_are_none() -> None:
    assert check_variables("inputs", None, 3, "x") == (Variable("x", shape=(3,)),)


def test_check_variables_returns_a_tuple() -> None:
    assert check_variables("inputs", [CHORD, MACH], 2, "x") == (CHORD, MACH)


@pytest.mark.parametrize(
    ("variables", "error", "message"),
    [
        (["chord"], InputError, r"`inputs` must be a sequence of Variable objects, got 'chord'\. Put them in a list"),
        (Variable("chord"), InputError, r"`inputs` must be a sequence of Variable objects, got Variable\(name='chord'"),
        ([], InputError, r"`inputs` must be a sequence of Variable objects, got \(\)"),
        ([CHORD, CHORD], InputError, r"`inputs` must have different names, got \['chord', 'chord'\]\. Rename one\."),
        ([CHORD, TWIST], ShapeError, r"`inputs` must cover the 2 columns of `x`, got 7 \(chord: 1, twist: 6\)\."),
    ],
)
def test_check_variables_rejects(variables: list[Any], error: type[InputError], message: str) -> None:
    with pytest.raises(error, match=message):
        check_variables("inputs", variables, 2, "x")


def test_the_same_variables_pass_and_bounds_count_only_where_asked() -> None:
    mine, theirs = [Variable("a", (2,), "m", lower=0.0)], (Variable("a", (2,), "m"),)
    check_same_variables("surrogate.inputs", mine, theirs, "Convert it.")
    check_same_variables("surrogate.inputs", mine, tuple(mine), "Convert it.", exact=True)
    expected = r"`surrogate\.inputs` must equal .*lower=\(0\.0, 0\.0\).*, got .*lower=None.* Convert it\."
    with pytest.raises(InputError, match=expected):
        check_same_variables("surrogate.inputs", mine, theirs, "Convert it.", exact=True)


@pytest.mark.parametrize(
    "other",
    [[Variable("b", (2,), "m")], [Variable("a", (3,), "m")], [Variable("a", (2,), "ft")], [], [Variable("a", (2,))]],
)
def test_other_names_shapes_units_or_numbers_of_variables_are_refused(other: list[Variable]) -> None:
    expected = r"`data\.outputs` must have the names, shapes and units \[\('a', \(2,\), 'm'\)\], got \[.*\]\. Convert"
    with pytest.raises(InputError, match=expected):
        check_same_variables("data.outputs", [Variable("a", (2,), "m")], other, "Convert it.")


# ---- fields from files ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, r"A variable of the file is not valid: `name` must be a non-empty string"),
        ({"units": "m)"}, r"A variable of the file is not valid: `units` must be valid OpenMDAO units, got 'm\)'"),
        ({"units": ["m"]}, r"A variable of the file is not valid: `units` must be valid OpenMDAO units"),
        ({"transform": ["log"]}, r"A variable of the file is not valid: `transform` must be None, 'log' or 'logit'"),
        ({"shape": 2}, r"`shape` must be a list of at most 32 whole numbers, got 2\. Save the file again"),
        ({"shape": "12"}, r"`shape` must be a list of at most 32 whole numbers, got '12'"),
        ({"shape": [2.0]}, r"`shape` must be a list of at most 32 whole numbers, got \[2\.0\]"),
        ({"shape": [True]}, r"`shape` must be a list of at most 32 whole numbers, got \[True\]"),
        ({"shape": [1] * 33}, r"`shape` must be a list of at most 32 whole numbers"),
        ({"shape": [-1], "upper": None}, r"A variable of the file is not valid: `shape` must hold positive"),
        ({"shape": [10**9], "upper": None}, None),
        (
            {"shape": [10**9 + 1], "upper": None},
            r"is not valid: `shape` must have at most 32 dimensions and 1e\+09 entr",
        ),
        (
            {"shape": [10**9]},
            r"`upper` must be null or hold one number or null for each entry of the shape \[1000000000\]",
        ),
        (
            {"upper": 2.0},
            r"`upper` must be null or hold one number or null for each entry of the shape \[2\], got 2\.0",
        ),
        ({"upper": [2.0]}, r"`upper` must be null or hold one number .*, got \[2\.0\]"),
        ({"upper": [2.0, "3"]}, r"`upper` must be null or hold one number .*, got \[2\.0, '3'\]"),
        ({"upper": [2.0, True]}, r"`upper` must be null or hold one number .*, got \[2\.0, True\]"),
        ({"upper": [2.0, 10**400]}, r"A variable of the file is not valid: .*"),
        ({"more": 1}, r"`variable` must have the fields \['lower', .*\], got \['lower', 'more', .*\]\. Save"),
    ],
)
def test_from_dict_takes_what_to_dict_returns_and_nothing_else(change: dict[str, Any], message: str | None) -> None:
    fields = {**Variable("x", shape=(2,), units="m", upper=4.0).to_dict(), **change}
    if message is None:
        assert Variable.from_dict(fields).size == 10**9
        return
    with pytest.raises(FileFormatError, match=message):
        Variable.from_dict(fields)


@pytest.mark.parametrize("fields", [None, 3, "x", [], {}, {"name": "x"}])
def test_from_dict_refuses_what_has_other_fields(fields: Any) -> None:
    with pytest.raises(FileFormatError, match=r"`variable` must have the fields \['lower', 'name', 'shape', 'trans"):
        Variable.from_dict(fields)


@pytest.mark.parametrize("shape", [(1,) * 33, (10**9 + 1,), (10**5, 10**5), (10**20,)], ids=str)
def test_shapes_beyond_any_array_are_refused(shape: tuple[int, ...]) -> None:
    message = r"`shape` must have at most 32 dimensions and 1e\+09 entries, got .*\. Check the shape of 'x'\."
    with pytest.raises(InputError, match=message):
        Variable("x", shape=shape)


def test_a_transform_that_is_an_array_is_refused() -> None:
    with pytest.raises(InputError, match="`transform` must be None, 'log' or 'logit'"):
        Variable("x", transform=np.array(["log", "log"]))  # type: ignore[arg-type]


def test_flatten_refuses_masked_values() -> None:
    with pytest.raises(InputError, match=r"`values\['x'\]` must not be masked"):
        flatten({"x": np.ma.array([1.0, 2.0], mask=[False, True])}, [Variable("x", (2,))])
