"""Checks that the parts of a state from a file fit together: shapes, indices, and numbers that end loops."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from reprlib import repr as shortened

import numpy as np

from gradopt.corrected.correction import KRIGED, CorrectedSurrogate, Correction
from gradopt.corrected.kernels import KERNELS
from gradopt.corrected.kriging import LENGTHS, Kriging
from gradopt.corrected.samples import Samples
from gradopt.corrected.selection import Selection
from gradopt.corrected.trend import Quadratic
from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling, column_transforms, is_usable
from gradopt.data.variables import Variable, total_size
from gradopt.errors import FileFormatError, explain
from gradopt.loop.state import Iteration, Stage, State, TruthPoint
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.kkt import KKT
from gradopt.optimality.problem import Responses

REMEDY = "Copy the file again from where it was written, or begin a new run on the same store."
_LARGEST_LOG = 1e3  # absolute value of the log of a forecast error; by hand: logs of numbers are below 745

Variables = Sequence[Variable]


def check_array(name: str, array: np.ndarray, shape: tuple[int, ...], kind: type = np.float64) -> None:
    """Check type and shape of an array.

    Args:
        name: Name of the array, for the message.
        array: The array.
        shape: Its shape; -1 stands for any length.
        kind: Its type.

    Raises:
        FileFormatError: If it has another type or shape.
    """
    fits = array.ndim == len(shape) and all(w in (-1, size) for w, size in zip(shape, array.shape, strict=True))
    if array.dtype != kind or not fits:
        got = f"{array.dtype} of shape {array.shape}"
        raise FileFormatError(explain(name, f"be {np.dtype(kind)} of shape {shape}", got, REMEDY))


def check_index(name: str, index: int | None, size: int, least: int = 0) -> None:
    """Raise `FileFormatError` unless an index is None, or at least `least` and below `size`."""
    if index is not None and not least <= index < size:
        expected = f"be a whole number from {least} to {size - 1}"
        raise FileFormatError(explain(name, expected, shortened(index), REMEDY))


def check_trust_region(region: TrustRegion) -> None:
    """Raise `FileFormatError` unless the radius is positive and the rule ends a run."""
    factors = (region.shrink, region.retreat)
    radii = (region.radius, region.smallest, region.largest)
    ends = all(0.0 < factor < 1.0 for factor in factors) and 1.0 <= region.grow < inf
    if not ends or not all(0.0 < radius < inf for radius in radii) or not (isfinite(region.poor + region.good)):
        expected = "have positive radii, shrink and retreat between 0 and 1, and grow of at least 1"
        raise FileFormatError(explain("trust_region", expected, region, REMEDY))


def check_state(state: State) -> None:
    """Check a state.

    Args:
        state: State whose fields have the declared types.

    Raises:
        FileFormatError: If its parts do not fit together.
    """
    k = state.start.size
    check_array("start", state.start, (k,))
    if not k or not np.isfinite(state.start).all():
        raise FileFormatError(explain("start", "be finite and not empty", shortened(state.start), REMEDY))
    check_array("waiting", state.waiting, (-1, k))
    check_trust_region(state.trust_region)
    if not state.samples:
        raise FileFormatError(explain("samples", "hold those of one truth at least", "none", REMEDY))
    for samples in state.samples:
        _check_samples(samples)
    p = state.points[0].c.size if state.points else 0
    for point in state.points:
        _check_point(point, state, k, p)
    check_index("at", state.at, len(state.points), -1)
    for pair in state.steps:
        for end in pair:
            check_index("steps", end, len(state.points))
    if state.penalties.size:
        check_array("penalties", state.penalties, (p,))
    for candidates in state.failed:
        if not candidates:
            raise FileFormatError(explain("failed", "hold a candidate in each entry", "an empty one", REMEDY))
        for candidate in candidates:
            check_array("failed", candidate, (k,))
    check_index("checks", state.checks, 2**31)
    if state.beside is not None:
        _check_responses(state.beside, k, p)
    if state.saddle is not None:
        check_array("saddle", state.saddle, (k,))
    if state.kkt is not None:
        _check_kkt(state.kkt, k, p)
    if (state.at < 0) != (state.kkt is None):
        got = f"at = {state.at} and kkt = {'None' if state.kkt is None else 'a record'}"
        raise FileFormatError(explain("kkt", "be given where there is an iterate", got, REMEDY))
    for record in (*state.history, *(() if state.pending is None else (state.pending,))):
        _check_iteration(record, k, p)
    if not state.selections and state.stage not in (Stage.START, Stage.SETTLING):
        raise FileFormatError(explain("selections", f"be given in the stage {state.stage.value!r}", "none", REMEDY))
    components = len(state.points[0].rows) if state.points else 0
    if state.selections and len(state.selections) != components:
        expected = f"have one entry for each of {components} components"
        raise FileFormatError(explain("selections", expected, len(state.selections), REMEDY))
    for selection in state.selections:
        _check_selection(selection, state.samples)


def _check_samples(samples: Samples) -> None:
    d, m = total_size(samples.inputs), total_size(samples.outputs)
    if not d or not m:
        raise FileFormatError(explain("samples", "have inputs and outputs", f"{d} and {m} columns", REMEDY))
    check_array("evaluated", samples.evaluated, (-1, d))
    check_array("beside", samples.beside, (-1, d))
    check_array("values", samples.values, (len(samples.beside), m))
    rows = 0
    if samples.data is not None:
        rows = samples.data.n
        _check_variables("data", samples.data, samples)
    for row in samples.difference_rows:
        check_index("difference_rows", row, rows)
    if len(samples.differenced) != len(samples.difference_rows):
        expected = f"have {len(samples.difference_rows)} entries, one for each of `difference_rows`"
        raise FileFormatError(explain("differenced", expected, len(samples.differenced), REMEDY))
    for mask in samples.differenced:
        check_array("differenced", mask, (m, d), np.bool_)
    for row in samples.refinements:
        if row not in samples.difference_rows:
            raise FileFormatError(explain("refinements", "be among `difference_rows`", row, REMEDY))
    if samples.fitted is not None:
        _check_variables("surrogate", samples.fitted.surrogate, samples)
        check_index("samples", samples.fitted.samples, rows + 1)


def _check_variables(name: str, holder: Dataset | object, samples: Samples) -> None:
    theirs = [[(v.name, v.shape) for v in getattr(holder, side) or ()] for side in ("inputs", "outputs")]
    ours = [[(v.name, v.shape) for v in side] for side in (samples.inputs, samples.outputs)]
    if theirs != ours:
        raise FileFormatError(explain(name, f"have the variables {shortened(ours)}", shortened(theirs), REMEDY))


def _check_point(point: TruthPoint, state: State, k: int, p: int) -> None:
    _check_responses(point, k, p)
    count = len(state.points[0].rows)
    if not len(point.rows) == len(point.sensitivities) == count:
        got = f"{len(point.rows)} and {len(point.sensitivities)}"
        raise FileFormatError(explain("rows and sensitivities", f"have {count} entries each", got, REMEDY))
    rows = max(0 if samples.data is None else samples.data.n for samples in state.samples)
    widths = {total_size(samples.outputs) for samples in state.samples}
    for row, weights in zip(point.rows, point.sensitivities, strict=True):
        check_index("rows", row, rows)
        width = weights.shape[-1] if weights.ndim else 0
        check_array("sensitivities", weights, (1 + p, width if width in widths else max(widths)))


def _check_responses(found: Responses, k: int, p: int) -> None:
    for name, array, shape in (
        ("u", found.u, (k,)),
        ("gradient", found.gradient, (k,)),
        ("c", found.c, (p,)),
        ("jacobian", found.jacobian, (p, k)),
    ):
        check_array(name, array, shape)
    if not (np.isfinite(found.u).all() and np.isfinite(found.c).all() and isfinite(found.f)):
        expected = "have finite design variables, objective and constraints"
        raise FileFormatError(explain("points", expected, shortened((found.u, found.f, found.c)), REMEDY))
    if found.error is not None:
        check_array("error", found.error, (1 + p, k))


def _check_kkt(found: KKT, k: int, p: int) -> None:
    for name, length in (("multipliers", p), ("bound_multipliers", k), ("residual", k)):
        check_array(name, getattr(found, name), (length,))
    for name, length in (("active", p), ("bound_active", k)):
        check_array(name, getattr(found, name), (length,), np.int64)
    for name, length in (("worst_feasibility", p + k), ("worst_stationarity", k), ("worst_complementarity", p + k)):
        check_index(name, getattr(found, name), length)


def _check_iteration(record: Iteration, k: int, p: int) -> None:
    check_array("u", record.u, (k,))
    for name in ("constraints", "predicted_constraints"):
        check_array(name, getattr(record, name), (p,))


def _check_selection(selection: Selection, every: Sequence[Samples]) -> None:
    check_index("judged", selection.judged, max(0 if one.data is None else one.data.n for one in every) + 1)
    for variant in (selection.plain, selection.based):
        if not (np.isnan(variant.error) or variant.error == inf or abs(variant.error) < _LARGEST_LOG):
            raise FileFormatError(explain("error", "be the log of a number", variant.error, REMEDY))
        if variant.corrected is not None:
            _check_corrected(variant.corrected)


def _check_corrected(found: CorrectedSurrogate) -> None:
    d, m = total_size(found.inputs), total_size(found.outputs)
    correction = found.correction
    check_scaling(correction.scaling, found.inputs, found.outputs, d, m)
    _check_correction(correction, d, m)
    base = found.surrogate
    if base is not None and not all(hasattr(base, name) for name in ("inputs", "outputs", "evaluate")):
        raise FileFormatError(explain("surrogate", "be a surrogate", shortened(base), REMEDY))
    if base is not None and [total_size(base.inputs), total_size(base.outputs)] != [d, m]:
        got = [total_size(base.inputs), total_size(base.outputs)]
        raise FileFormatError(explain("surrogate", f"have {d} and {m} columns", got, REMEDY))


def check_scaling(scaling: Scaling, inputs: Variables, outputs: Variables, d: int, m: int) -> None:
    """Check a scaling of d input and m output columns; raise `FileFormatError` if it does not fit."""
    for name, length in (("input_mean", d), ("input_scale", d), ("output_mean", m), ("output_scale", m)):
        check_array(name, getattr(scaling, name), (length,))
    mine = (scaling.input_transforms, scaling.output_transforms)
    if mine != (column_transforms(inputs), column_transforms(outputs)):
        raise FileFormatError(explain("transforms", "be those of the variables", shortened(mine), REMEDY))
    sizes = np.concatenate([scaling.input_scale, scaling.output_scale])
    means = np.concatenate([scaling.input_mean, scaling.output_mean])
    if not (is_usable(sizes) & np.isfinite(means)).all():
        raise FileFormatError(explain("scaling", "be finite and positive", shortened(sizes), REMEDY))


def _check_correction(correction: Correction, d: int, m: int) -> None:
    for name, shape in (("value", (m,)), ("gradient", (m, d)), ("hessian", (m, d, d))):
        _check_finite(name, getattr(correction, name), shape)
    check_array("carried", correction.carried, (m,), np.bool_)
    if len(correction.krigings) > len(KRIGED):
        expected = f"have {len(KRIGED)} entries at most"
        raise FileFormatError(explain("krigings", expected, len(correction.krigings), REMEDY))
    for one in correction.krigings:
        for name, shape in (("value", (m,)), ("gradient", (m, d)), ("record", (m,))):
            _check_finite(name, getattr(one, name), shape)
        if not 0.0 < one.spread < inf:
            raise FileFormatError(explain("spread", "be positive", one.spread, REMEDY))
        _check_kriging(one.kriging, d, m)
        if not is_usable(one.kriging.lengths * one.spread).all():
            raise FileFormatError(explain("lengths", "be usable numbers", shortened(one.kriging.lengths), REMEDY))


def _check_kriging(kriging: Kriging, d: int, m: int) -> None:
    n = len(kriging.points) if kriging.points.ndim else 0
    for name, shape in (
        ("root", (d, d)),
        ("points", (n, d)),
        ("lengths", (m,)),
        ("value_weights", (n, m)),
        ("partial_weights", (n, m, d)),
    ):
        _check_finite(name, getattr(kriging, name), shape)
    if kriging.kernel not in KERNELS:
        raise FileFormatError(explain("kernel", f"be one of {sorted(KERNELS)}", shortened(kriging.kernel), REMEDY))
    if len(kriging.length_indices) != m or not ((kriging.lengths > 0.0) & (kriging.lengths < inf)).all():
        raise FileFormatError(explain("lengths", f"be {m} positive numbers", shortened(kriging.lengths), REMEDY))
    for index in kriging.length_indices:
        check_index("length_indices", index, len(LENGTHS))
    if kriging.trend is not None:
        _check_trend(kriging.trend, d, m)


def _check_trend(trend: Quadratic, d: int, m: int) -> None:
    for name, shape in (("center", (d,)), ("value", (m,)), ("gradient", (m, d)), ("hessian", (m, d, d))):
        _check_finite(name, getattr(trend, name), shape)


def _check_finite(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    check_array(name, array, shape)
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise FileFormatError(explain(name, "be finite", f"{array[tuple(where)]} at {where}", REMEDY))
