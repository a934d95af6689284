"""Datasets: select, concat, split, duplicates and digest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.errors import InputError, ShapeError

N, M, D = 6, 2, 3
FIELDS: dict[str, Any] = {
    "inputs": (Variable("a", units="m"), Variable("b", shape=(2,))),
    "outputs": (Variable("f"), Variable("g")),
}


def sample(n: int = N, seed: int = 0) -> Dataset:
    """A dataset whose partials are known in about half of the entries."""
    rng = np.random.default_rng(seed)
    dydx = rng.normal(size=(n, M, D))
    dydx[rng.random(size=dydx.shape) < 0.5] = np.nan
    return Dataset(rng.normal(size=(n, D)), rng.normal(size=(n, M)), dydx, **FIELDS)


def assert_same(one: Dataset, other: Dataset) -> None:
    for name in ("x", "y", "dydx"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.inputs, one.outputs) == (other.inputs, other.outputs)


# select, concat, split -----------------------------------------------------------------------------------------------


def test_select_keeps_rows_in_the_given_order() -> None:
    data, rows = sample(), [4, 0, 4]
    assert_same(data.select(rows), Dataset(data.x[rows], data.y[rows], data.partials[rows], **FIELDS))


def test_select_takes_a_mask() -> None:
    assert_same(sample().select([False, True, False, False, True, False]), sample().select([1, 4]))


def test_select_of_nothing_is_rejected() -> None:
    with pytest.raises(ShapeError, match="`x` must hold at least one sample"):
        sample().select(np.zeros(N, dtype=bool))


WIDE_OUTPUTS = (Variable("f"), Variable("g", shape=(2,), units="m"), Variable("h"))


def wide() -> Dataset:
    """A dataset with an output of two columns between two of one."""
    rng = np.random.default_rng(3)
    dydx = rng.normal(size=(N, 4, D))
    dydx[rng.random(size=dydx.shape) < 0.5] = np.nan
    return Dataset(rng.normal(size=(N, D)), rng.normal(size=(N, 4)), dydx, FIELDS["inputs"], WIDE_OUTPUTS)


@pytest.mark.parametrize(
    ("names", "columns"), [(["g"], [1, 2]), (["h", "f"], [3, 0]), (("g", "f"), [1, 2, 0]), (["f", "g", "h"], range(4))]
)
def test_select_outputs_keeps_columns_and_partials_in_the_given_order(names: Any, columns: Any) -> None:
    data, columns = wide(), list(columns)
    by_name = {variable.name: variable for variable in WIDE_OUTPUTS}
    outputs = [by_name[name] for name in names]
    expected = Dataset(data.x, data.y[:, columns], data.partials[:, columns], FIELDS["inputs"], outputs)
    assert_same(data.select_outputs(names), expected)


def test_select_outputs_leaves_the_dataset_alone() -> None:
    data = wide()
    data.select_outputs(["h"])
    assert_same(data, wide())


@pytest.mark.parametrize(
    ("names", "got"),
    [(["f", "z"], r"\['z'\]"), (["x", "y"], r"\['x', 'y'\]"), ([], r"\[\]"), (["g[0]"], r"\['g\[0\]'\]")],
)
def test_select_outputs_names_the_outputs_there_are(names: list[str], got: str) -> None:
    message = rf"^`names` must be among the outputs \['f', 'g', 'h'\], got {got}\. Check the spelling\.$"
    with pytest.raises(InputError, match=message):
        wide().select_outputs(names)


def test_select_outputs_twice_is_rejected() -> None:
    with pytest.raises(InputError, match="`outputs` must have different names"):
        wide().select_outputs(["f", "f"])


def test_concat_appends_the_samples_of_the_other() -> None:
    both = sample(2, seed=0).concat(sample(3, seed=1))
    assert both.n == 5
    assert_same(both.select([0, 1]), sample(2, seed=0))
    assert_same(both.select([2, 3, 4]), sample(3, seed=1))


def test_concat_marks_the_partials_of_a_dataset_without_any_as_not_known() -> None:
    both = sample().concat(replace(sample(), dydx=None))
    np.testing.assert_array_equal(both.known, np.concatenate([sample().known, np.zeros((N, M, D), dtype=bool)]))


def test_concat_rejects_different_width() -> None:
    one, other = Dataset(np.zeros((2, 2)), np.zeros((2, 1))), Dataset(np.zeros((2, 3)), np.zeros((2, 1)))
    with pytest.raises(InputError, match=r"`other\.inputs` must equal .*shape=\(2,\).*, got .*shape=\(3,\)"):
        one.concat(other)


@pytest.mark.parametrize(
    "fields",
    [
        {"outputs": (Variable("g"), Variable("f"))},
        {"outputs": (Variable("f"), Variable("g", units="m"))},
        {"outputs": (Variable("f"), Variable("g", lower=0.0))},
        {"outputs": (Variable("f"), Variable("g", transform="log"))},
    ],
    ids=["order", "units", "bounds", "transform"],
)
def test_concat_rejects_different_variables(fields: dict[str, Any]) -> None:
    message = r"`other\.outputs` must equal .*, got .*\. Bring both to the same names, order, units and bounds first\."
    with pytest.raises(InputError, match=message):
        sample().concat(replace(sample(), **fields))


@pytest.mark.parametrize(("fraction", "held"), [(0.01, 1), (0.25, 2), (0.5, 4), (0.99, 7)])
def test_split_holds_the_fraction_but_leaves_neither_part_empty(fraction: float, held: int) -> None:
    rest, part = sample(8).split(fraction, seed=0)
    assert (rest.n, part.n) == (8 - held, held)


def test_split_gives_every_sample_once_with_its_partials() -> None:
    data = sample(20)
    both = data.split(0.3, seed=1)[0].concat(data.split(0.3, seed=1)[1])
    assert_same(both.select(np.argsort(both.x[:, 0])), data.select(np.argsort(data.x[:, 0])))


def test_split_keeps_the_order_of_samples() -> None:
    data = Dataset(np.arange(20.0)[:, None], np.zeros((20, 1)))
    assert all((np.diff(part.x[:, 0]) > 0).all() for part in data.split(0.4, seed=0))


def test_split_is_determined_by_its_seed() -> None:
    data = sample(20)
    assert_same(data.split(0.3, seed=1)[1], data.split(0.3, seed=np.random.default_rng(1))[1])
    assert data.split(0.3, seed=1)[1].digest != data.split(0.3, seed=2)[1].digest


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, np.nan])
def test_split_rejects_fraction_outside_the_open_interval(fraction: float) -> None:
    message = rf"`fraction` must lie in \(0, 1\), got {fraction}\. 0\.2 keeps a fifth for the second part\."
    with pytest.raises(InputError, match=message):
        sample().split(fraction, seed=0)


def test_split_rejects_a_single_sample() -> None:
    with pytest.raises(InputError, match=r"`data` must hold at least 2 samples to be split, got 1\. Add samples\."):
        sample(1).split(0.5, seed=0)


# Duplicates ----------------------------------------------------------------------------------------------------------


def repeated() -> Dataset:
    """Six samples at three points: 2, 1, 2, 0, 1, 2."""
    points = np.array([[2.0], [1.0], [2.0], [0.0], [1.0], [2.0]])
    dydx = np.array([1.0, np.nan, 3.0, 5.0, np.nan, np.nan])[:, None, None]
    return Dataset(points, np.arange(6.0)[:, None], dydx)


def test_duplicates_are_grouped_by_point_in_ascending_order() -> None:
    assert sorted(rows.tolist() for rows in repeated().duplicates()) == [[0, 2, 5], [1, 4]]


def test_near_points_are_no_duplicates() -> None:
    assert Dataset([[1.0], [1.0 + 1e-15]], [[0.0], [0.0]]).duplicates() == []  # type: ignore[arg-type]


def test_points_that_share_some_columns_are_no_duplicates() -> None:
    assert Dataset([[1.0, 2.0], [1.0, 3.0]], [[0.0], [0.0]]).duplicates() == []  # type: ignore[arg-type]


def test_both_zeros_are_the_same_point() -> None:
    assert len(Dataset([[0.0, 1.0], [-0.0, 1.0]], [[0.0], [0.0]]).duplicates()) == 1  # type: ignore[arg-type]


def test_merge_duplicates_averages_values_in_order_of_first_occurrence() -> None:
    merged = repeated().merge_duplicates()
    np.testing.assert_array_equal(merged.x[:, 0], [2.0, 1.0, 0.0])
    np.testing.assert_allclose(merged.y[:, 0], [7 / 3, 2.5, 3.0], rtol=1e-15)


def test_merge_duplicates_averages_the_known_entries_of_a_partial() -> None:
    np.testing.assert_array_equal(repeated().merge_duplicates().partials[:, 0, 0], [2.0, np.nan, 5.0])


def test_merge_duplicates_leaves_the_dataset_as_it_was() -> None:
    data = repeated()
    data.merge_duplicates()
    assert_same(data, repeated())


def test_merge_duplicates_without_any_changes_nothing() -> None:
    assert_same(sample().merge_duplicates(), sample())


# Digest --------------------------------------------------------------------------------------------------------------


def test_equal_data_have_equal_digest_whatever_the_memory_order() -> None:
    data = sample()
    assert replace(data, x=np.asfortranarray(data.x), dydx=np.asfortranarray(data.dydx)).digest == data.digest


def test_digest_does_not_depend_on_the_bits_of_nan() -> None:
    one, other = (replace(sample(), dydx=np.full((N, M, D), nan)) for nan in (np.nan, -np.nan))
    assert one.digest == other.digest


def test_digest_does_not_depend_on_the_sign_of_zero() -> None:
    one, other = (replace(sample(), y=np.full((N, M), zero)) for zero in (0.0, -0.0))
    assert one.digest == other.digest


@pytest.mark.parametrize(
    "change",
    [
        {"x": np.zeros((N, D))},
        {"y": np.zeros((N, M))},
        {"dydx": None},
        {"inputs": (Variable("a", units="km"), Variable("b", shape=(2,)))},
        {"outputs": (Variable("f"), Variable("h"))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_digest_changes_with_every_field(change: dict[str, Any]) -> None:
    assert replace(sample(), **change).digest != sample().digest


def test_digest_changes_with_the_order_of_samples() -> None:
    assert sample().select(np.arange(N)[::-1]).digest != sample().digest


def test_digest_is_the_same_in_every_process() -> None:
    digest = Dataset(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1, 1))).digest
    assert digest == "7bc19cc2350d5e73f25e11a766934ecf04beb942c740a909e62bf2e0f03953f0"
