"""Corrected surrogate: near one point a surrogate with the truth's value and partials, farther off the surrogate.

Near the current iterate c the truth's output k is modelled as

    s_k(x) + [y_k(c) - s_k(c)] + [dy_k(c) - ds_k(c)] (x - c) + 1/2 (x - c)' B_k (x - c) + g_k(x)

with the global surrogate s, its first-order correction, a secant quadratic B_k, and g_k, which is gradient-enhanced
kriging (GEK) of the residuals at the nearest samples, less its own value and gradient at c. So value and partials at c
are the truth's whatever s, B and g are (Alexandrov & Lewis 2001). Kriging halves the number of iterations in curved
valleys, and misleads where one length scale does not fit a response. Its record decides: an output goes without kriging
while the forecasts of the last candidates were the better ones without. All of this is done in transformed outputs, so
that a response with a log or logit transform stays in its domain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradopt.corrected.kriging import Kriging, krige
from gradopt.corrected.secant import secant_hessian, symmetric_rank_one
from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling, column_transforms
from gradopt.data.variables import Variable, column_bounds
from gradopt.surrogates.protocol import Evaluation, SupportsEvaluate

# Chosen by hand on Rosenbrock's function and the airfoil, unless another source is named.
_WINDOW = 4  # nearest samples that kriging takes, in multiples of the number of inputs: more gave nothing in prototypes
_FEWEST = 16  # samples that it takes at least
_MOST_ROWS = 1200  # values and partials together that it takes at most: a fit takes 0.1 s on one core
_NEAREST = 3  # samples that it always takes: the iterate and the two nearest to it
_DIGITS = 1e7  # largest ratio of far to near residuals: its matrices have about ten digits
_SMALLEST_WIDTH = 1e-3  # unit of length of an input without bounds whose values are all 0
_MOVEMENT = 0.1  # unit of length of an input without bounds that has hardly moved, as a part of its size
_MEMORY = 0.8  # weight of the record of kriging before the newest candidate
_SURPRISE = 2.0  # largest change of the record by one candidate, a log ratio of errors
_ROUND_OFF = 1e-12  # forecast errors below this, in units of max(1, |truth|), count as this


@dataclass(frozen=True)
class CorrectionTerms:
    """Which terms of the correction are used; all by default, fewer to show what each is worth.

    Attributes:
        first_order: Value and partials of the truth at the current iterate. Without this term no other is added either,
            and the loop may end anywhere.
        secant: Secant quadratic.
        kriging: Gradient-enhanced kriging of the residuals.
    """

    first_order: bool = True
    secant: bool = True
    kriging: bool = True


@dataclass(frozen=True, eq=False)
class Correction:
    """Terms that are added to a surrogate, in the coordinates of `scaling`, whose origin is the current iterate.

    Attributes:
        scaling: Standardization about the iterate.
        value: Constant term (m,).
        gradient: Linear term (m, d).
        hessian: Secant quadratic (m, d, d).
        kriging: Kriging in coordinates divided by `spread`; None without.
        kriging_value: Values of the kriging at the iterate (m,), which are subtracted.
        kriging_gradient: Partials of the kriging there (m, d), 0 where the truth's are not known.
        spread: Root mean square distance of the points of `kriging`.
        record: Mean log ratio of the forecast errors with and without `kriging` at past candidates (m,), recent ones
            with more weight. Where it is positive, kriging is not used.
    """

    scaling: Scaling
    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    kriging: Kriging | None
    kriging_value: np.ndarray
    kriging_gradient: np.ndarray
    spread: float
    record: np.ndarray

    def evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate at z (k, d), real or complex: values (k, m) and partials (k, m, d)."""
        values, partials = self.plain(z)
        if self.kriging is not None and self.used.any():
            missed, slopes = self.kriged(z)
            values = values + self.used * missed
            partials = partials + self.used[:, None] * slopes
        return values, partials

    def plain(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate at z (k, d) without kriging: values (k, m) and partials (k, m, d)."""
        bent = np.einsum("mij,kj->kmi", self.hessian, z)
        values = self.value + z @ self.gradient.T + 0.5 * np.einsum("kmi,ki->km", bent, z)
        return values, self.gradient + bent

    def kriged(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate the term of kriging at z (k, d), whether it is used or not: values (k, m) and partials (k, m, d)."""
        if self.kriging is None:
            return np.zeros((len(z), len(self.value))), np.zeros((len(z), *self.gradient.shape))
        near = z / self.spread
        values, partials = self.kriging.evaluate(near)
        values = values - self.kriging_value - near @ self.kriging_gradient.T
        return values, (partials - self.kriging_gradient) / self.spread

    @property
    def used(self) -> np.ndarray:
        """Outputs for which kriging is used, bool (m,)."""
        return self.record <= 0.0


@dataclass(frozen=True, eq=False)
class CorrectedEvaluation:
    """Evaluation of a corrected surrogate: outputs `y` (n, m), physical, and their partials on request."""

    x: np.ndarray
    y: np.ndarray
    _partials: np.ndarray
    _scaling: Scaling

    def dydx(self) -> np.ndarray:
        """Return the partials (n, m, d), physical."""
        return self._scaling.unscale_partials(self.x, self.y, self._partials)


@dataclass(frozen=True, eq=False)
class CorrectedSurrogate:
    """A surrogate, or nothing, with a correction.

    Attributes:
        inputs: Variables of the input columns.
        outputs: Variables of the output columns.
        surrogate: Global surrogate, or None.
        correction: Correction that is added.
    """

    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    surrogate: SupportsEvaluate | None
    correction: Correction

    @property
    def lower(self) -> np.ndarray:
        """Lower edge (d,) of the domain: none, the trust region keeps the candidates near the iterate."""
        return np.full(len(self.correction.scaling.input_mean), -np.inf)

    @property
    def upper(self) -> np.ndarray:
        """Upper edge (d,)."""
        return -self.lower

    @cached_property
    def digest(self) -> str:
        """Hash of what determines the values near the iterate."""
        found = hashlib.sha256(self.surrogate.digest.encode() if self.surrogate is not None else b"")
        correction = self.correction
        arrays = [correction.scaling.input_mean, correction.value, correction.gradient, correction.hessian]
        if correction.kriging is not None:
            arrays += [correction.used]
            arrays += [correction.kriging.points, correction.kriging.value_weights, correction.kriging.partial_weights]
        for array in arrays:
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def evaluate(self, x: np.ndarray) -> Evaluation:
        """Evaluate x (n, d), physical, real or complex."""
        scaling = self.correction.scaling
        values, partials = self.correction.evaluate(scaling.scale_inputs(x))
        if self.surrogate is not None:
            known, slopes = _evaluated(self.surrogate, scaling, x)
            values, partials = values + known, partials + slopes
        return CorrectedEvaluation(x, scaling.unscale_outputs(values), partials, scaling)


def correct(
    surrogate: SupportsEvaluate | None,
    data: Dataset,
    center: int,
    pairs: Sequence[tuple[int, int]],
    signs: np.ndarray,
    terms: CorrectionTerms = CorrectionTerms(),  # noqa: B008 (frozen)
    reach: float = np.inf,
    previous: CorrectedSurrogate | None = None,
) -> CorrectedSurrogate:
    """Correct a surrogate about one of the samples of the truth.

    Args:
        surrogate: Global surrogate, or None to model the truth itself.
        data: Samples of the truth, the newest last.
        center: Row of the current iterate.
        pairs: Rows at the start and the end of each step of the run, oldest first; they make the secants.
        signs: Signs (m,) of the derivative of the objective with respect to the output: 1 where the quadratic should be
            convex, -1 where concave, 0 for an output that only constraints depend on: there it may be indefinite.
        terms: Terms to use.
        reach: Distance, in units of the ranges of the inputs, beyond which kriging takes no samples: what fits a wide
            window to ten digits cannot resolve a region a million times smaller.
        previous: Last correction, which predicted the newest sample: its errors decide where kriging is used.

    Returns:
        The corrected surrogate; value and known partials at the iterate are the truth's.
    """
    scaling = about(data, center)
    z = scaling.scale_inputs(data.x)
    missed = scaling.scale_outputs(data.y)
    slopes = scaling.scale_partials(data.x, data.y, data.partials)
    if surrogate is not None:
        values, partials = _evaluated(surrogate, scaling, data.x)
        missed, slopes = missed - values, slopes - partials
    m, d = data.m, data.d
    known = ~np.isnan(slopes[center])
    hessian = np.zeros((m, d, d))
    if terms.secant:
        for output, sign in enumerate(signs):
            secants = [(z[end] - z[start], slopes[end, output] - slopes[start, output]) for start, end in pairs]
            hessian[output] = secant_hessian(secants, float(sign), d) if sign else symmetric_rank_one(secants, d)
    value, gradient = missed[center], slopes[center]
    if not known.all():
        gradient = np.where(known, gradient, _carried(z, slopes, hessian))
    record = _record(previous, data)
    # An iterate without partials gets the information of the values around it from kriging alone.
    record = np.where(known.all(axis=1), record, np.minimum(record, 0.0))
    plain = Correction(scaling, value, gradient, hessian, None, np.zeros(m), np.zeros((m, d)), 1.0, record)
    correction = plain
    if terms.kriging:
        distance = np.sqrt((z**2).sum(axis=1))
        rows = np.argsort(distance, kind="stable")[: window(d)]
        rows = rows[distance[rows] <= reach]
        explained, inclined = plain.plain(z[rows])
        left, bent = missed[rows] - explained, slopes[rows] - inclined
        within = _resolved(left, bent, z[rows], data.y[rows])
        rows, left, bent = rows[within], left[within], bent[within]
        spread = float(np.sqrt((distance[rows] ** 2).mean()))
        if spread > 0.0:
            noisy = bool(np.isnan(slopes).any())  # finite differences, of values that mostly have noise
            kriging = krige(z[rows] / spread, left, bent * spread, _lengths(previous), noisy)
            at, along = kriging.evaluate(np.zeros((1, d)))
            along = np.where(known, along[0], 0.0)
            correction = Correction(scaling, value, gradient, hessian, kriging, at[0], along, spread, record)
    return CorrectedSurrogate(data.input_variables, data.output_variables, surrogate, correction)


def _carried(z: np.ndarray, slopes: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """Partials (m, d) at the origin, carried there from the nearest point of z (n, d) where each output has its own."""
    found = np.zeros(slopes.shape[1:])
    distance = (z**2).sum(axis=1)
    for output in range(len(found)):
        known = np.flatnonzero(~np.isnan(slopes[:, output]).any(axis=1))
        if len(known):
            nearest = known[distance[known].argmin()]
            found[output] = slopes[nearest, output] - hessian[output] @ z[nearest]
    return found


def _resolved(left: np.ndarray, bent: np.ndarray, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points (n,), nearest first, kriging can take without losing the digits that matter at the nearest ones.

    Where the residuals at the nearest two points are a millionth of those far off, the round-off of the far ones would
    be larger than the near residuals.
    """
    size = np.maximum(np.abs(left), np.abs(np.nansum(bent * z[:, None, :], axis=2)))
    near = np.maximum(size[1:_NEAREST].max(axis=0, initial=0.0), 1e-14 * np.maximum(1.0, np.abs(y[0])))
    return (size <= _DIGITS * near).all(axis=1)  # always so at the first `_NEAREST`: at the iterate the size is 0


def _lengths(previous: CorrectedSurrogate | None) -> Sequence[int] | None:
    """Start of the search for length scales: where the last one ended."""
    if previous is None or previous.correction.kriging is None:
        return None
    return previous.correction.kriging.length_indices


def _record(previous: CorrectedSurrogate | None, data: Dataset) -> np.ndarray:
    """Record of kriging (m,) after the newest point, see `Correction`."""
    if previous is None:
        return np.zeros(data.m)
    correction, surrogate = previous.correction, previous.surrogate
    if correction.kriging is None:
        return correction.record
    z = correction.scaling.scale_inputs(data.x[-1:])
    truth = correction.scaling.scale_outputs(data.y[-1:])
    size = _ROUND_OFF * np.maximum(1.0, np.abs(truth[0]))
    if surrogate is not None:
        truth = truth - _evaluated(surrogate, correction.scaling, data.x[-1:])[0]
    error = truth - correction.plain(z)[0]
    without, with_it = np.abs(error[0]) + size, np.abs(error - correction.kriged(z)[0])[0] + size
    return _MEMORY * correction.record + np.clip(np.log(with_it / without), -_SURPRISE, _SURPRISE)


def window(d: int) -> int:
    """Return the number of nearest samples that kriging takes in d dimensions."""
    return max(min(max(_WINDOW * d, _FEWEST), _MOST_ROWS // (d + 1)), 2)


def about(data: Dataset, center: int) -> Scaling:
    """Return coordinates with the origin at a row of the data, in units of the ranges of the inputs.

    An input without bounds has the spread of the data for a range.

    Outputs are transformed, not scaled.
    """
    transforms = column_transforms(data.input_variables)
    outputs = column_transforms(data.output_variables)
    unit = Scaling(np.zeros(data.d), np.ones(data.d), np.zeros(data.m), np.ones(data.m), transforms, outputs)
    points = unit.transform_inputs(data.x)
    # An input that has hardly moved yet is not on a scale of its own.
    floor = np.maximum(_MOVEMENT * np.abs(points).max(axis=0), _SMALLEST_WIDTH)
    width = np.maximum(np.ptp(points, axis=0), floor)
    low, high = column_bounds(data.input_variables)
    plain = np.array([transform is None for transform in transforms]) & np.isfinite(low) & np.isfinite(high)
    width[plain] = (high - low)[plain]
    return Scaling(points[center], width, np.zeros(data.m), np.ones(data.m), transforms, outputs)


def _evaluated(surrogate: SupportsEvaluate, scaling: Scaling, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (n, m) and partials (n, m, d) of a surrogate in the coordinates of `scaling`."""
    found = surrogate.evaluate(x)
    return scaling.scale_outputs(found.y), scaling.scale_partials(x, found.y, found.dydx())
