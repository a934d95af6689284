"""Corrected surrogate: near one point a surrogate with the truth's value and partials, farther off the surrogate.

Near the current iterate c the truth's output k is modelled as

    s_k(x) + [y_k(c) - s_k(c)] + [dy_k(c) - ds_k(c)] (x - c) + 1/2 (x - c)' B_k (x - c) + g_k(x)

with the global surrogate s, its first-order correction, a secant quadratic B_k, and g_k, a mean of gradient-enhanced
krigings (GEK) of the residuals at the nearest samples, less their own value and gradient at c. So value and partials at
c are the truth's whatever s, B and g are (Alexandrov & Lewis 2001). Kriging halves the number of iterations in curved
valleys, and misleads where one length scale does not fit a response. An additive kernel, for sums of functions of one
and two variables, needs far fewer samples in many dimensions where responses are such sums. So each kriging has a share
by its forecasts of past candidates, and so has the model without any. All of this is done in transformed outputs,
so that a response with a log or logit transform stays in its domain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gradopt.corrected.kriging import Kriging, KrigingConfiguration, krige
from gradopt.corrected.secant import secant_hessian, symmetric_rank_one
from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling, column_transforms
from gradopt.data.variables import Variable, column_bounds
from gradopt.surrogates.protocol import Evaluation, SupportsEvaluate

# Chosen by hand on Rosenbrock's function and the airfoil, unless another source is named.
KRIGED = ("squared exponential", "additive")
"""Kernels of the krigings of the residuals, in their order; of one input the first alone, as both are the same."""

_WINDOW = 4  # nearest samples that kriging takes, in multiples of the number of inputs: more gave nothing in prototypes
_FEWEST = 16  # samples that it takes at least
_MOST_ROWS = 800  # values and partials together that it takes at most; by hand: 1200 gave nothing and cost twice
_NEAREST = 3  # samples that it always takes: the iterate and the two nearest to it
_DIGITS = 1e4  # largest ratio of far to near residuals: of ten digits of kriging six are left for the near ones
_SMALLEST_WIDTH = 1e-3  # unit of length of an input without bounds whose values are all 0
_MOVEMENT = 0.1  # unit of length of an input without bounds that has hardly moved, as a part of its size
_MEMORY = 0.8  # factor on the record of a kriging with each candidate
_CLEAR = 8.0  # record, a sum of log ratios of errors, beyond which shares change no more; by hand
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
class ResidualKriging:
    """Kriging of the residuals that a secant model leaves, less its own value and gradient at the iterate.

    Attributes:
        kriging: Kriging in coordinates divided by `spread`.
        value: Its values at the iterate (m,), which are subtracted.
        gradient: Its partials there (m, d), 0 where the truth's are not known.
        spread: Root mean square distance of its points from the iterate.
        record: Sum of the log ratios of the forecast errors with and without it at past candidates (m,), each smaller
            by a fifth with every candidate after it; negative where it forecast better.
    """

    kriging: Kriging
    value: np.ndarray
    gradient: np.ndarray
    spread: float
    record: np.ndarray

    def evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate at z (k, d), real or complex: values (k, m) and partials (k, m, d)."""
        near = z / self.spread
        values, partials = self.kriging.evaluate(near)
        values = values - self.value - near @ self.gradient.T
        return values, (partials - self.gradient) / self.spread


@dataclass(frozen=True, eq=False)
class Correction:
    """Terms that are added to a surrogate, in the coordinates of `scaling`, whose origin is the current iterate.

    Attributes:
        scaling: Standardization about the iterate.
        value: Constant term (m,).
        gradient: Linear term (m, d).
        hessian: Secant quadratic (m, d, d).
        carried: Outputs (m,) whose partials at the iterate are not all known but carried there, bool. The values around
            it reach their model by kriging alone.
        krigings: Krigings of the residuals, one for each of `KRIGED`, for one input one of the first; () without.
    """

    scaling: Scaling
    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    carried: np.ndarray
    krigings: tuple[ResidualKriging, ...] = ()

    def evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate at z (k, d), real or complex: values (k, m) and partials (k, m, d)."""
        smooth, krigings = self._summed
        values, partials = smooth.plain(z)
        for kriging in krigings:
            missed, slopes = kriging.evaluate(z)
            values, partials = values + missed, partials + slopes
        return values, partials

    def plain(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate at z (k, d) without kriging: values (k, m) and partials (k, m, d)."""
        bent = np.einsum("mij,kj->kmi", self.hessian, z)
        values = self.value + z @ self.gradient.T + 0.5 * np.einsum("kmi,ki->km", bent, z)
        return values, self.gradient + bent

    @cached_property
    def _summed(self) -> tuple[Correction, list[Kriging]]:
        """The terms without kriging, less what is subtracted from each; and the krigings by their shares, at z."""
        value, gradient, krigings = self.value, self.gradient, []
        for residual, share in zip(self.krigings, self.shares, strict=True):
            value = value - share * residual.value
            gradient = gradient - share[:, None] * residual.gradient / residual.spread
            krigings.append(residual.kriging.times(share, residual.spread))
        return replace(self, value=value, gradient=gradient, krigings=()), krigings

    @cached_property
    def shares(self) -> np.ndarray:
        """Shares of the krigings (r, m), see `shares_of`."""
        if not self.krigings:
            return np.empty((0, len(self.value)))
        return shares_of(np.array([kriging.record for kriging in self.krigings]), self.carried)


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

    @cached_property
    def lower(self) -> np.ndarray:
        """Lower edge (d,) of the domain: none, the trust region keeps the candidates near the iterate."""
        return np.full(len(self.correction.scaling.input_mean), -np.inf)

    @cached_property
    def upper(self) -> np.ndarray:
        """Upper edge (d,)."""
        return -self.lower

    @cached_property
    def digest(self) -> str:
        """Hash of what determines the values near the iterate."""
        found = hashlib.sha256(self.surrogate.digest.encode() if self.surrogate is not None else b"")
        correction = self.correction
        arrays = [correction.scaling.input_mean, correction.value, correction.gradient, correction.hessian]
        arrays.append(correction.shares)
        for residual in correction.krigings:
            kriging = residual.kriging
            arrays += [kriging.points, kriging.value_weights, kriging.partial_weights]
        for array in arrays:
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def with_kriging(self, index: int | None) -> CorrectedSurrogate:
        """Return the surrogate with one of its krigings in the place of all by their shares; None with none of them."""
        correction, m = self.correction, len(self.correction.value)
        kept = correction.krigings[index : index + 1] if index is not None else ()
        chosen = tuple(replace(kriging, record=np.full(m, -_CLEAR)) for kriging in kept)  # all but 0.03 % of the share
        return replace(self, correction=replace(correction, krigings=chosen))

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
    newest: Sequence[int] = (),
) -> CorrectedSurrogate:
    """Correct a surrogate about one of the samples of the truth.

    Args:
        surrogate: Global surrogate, or None to model the truth itself.
        data: Samples of the truth.
        center: Row of the current iterate.
        pairs: Rows at the start and the end of each step of the run, oldest first; they make the secants.
        signs: Signs (m,) of the derivative of the objective with respect to the output: 1 where the quadratic should be
            convex, -1 where concave, 0 for an output that only constraints depend on: there it may be indefinite.
        terms: Terms to use.
        reach: Distance, in units of the ranges of the inputs, beyond which kriging takes no samples: what fits a wide
            window to ten digits cannot resolve a region a million times smaller.
        previous: Last correction, which predicted the newest samples: its errors change the records of the krigings,
            and so their shares. Without it all records are 0.
        newest: Rows of these samples; without any the records stay.

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
    plain = Correction(scaling, value, gradient, hessian, ~known.all(axis=1))
    krigings: tuple[ResidualKriging, ...] = ()
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
            before = previous.correction.krigings if previous is not None else ()
            records = _records(previous, data, newest)
            krigings = tuple(
                _residual(
                    kernel, z[rows] / spread, left, bent * spread, spread, known, noisy, before[i : i + 1], record
                )
                for i, (kernel, record) in enumerate(zip(KRIGED if d > 1 else KRIGED[:1], records, strict=False))
            )
    return CorrectedSurrogate(data.input_variables, data.output_variables, surrogate, replace(plain, krigings=krigings))


def _residual(
    kernel: str,
    points: np.ndarray,
    left: np.ndarray,
    bent: np.ndarray,
    spread: float,
    known: np.ndarray,
    noisy: bool,
    before: tuple[ResidualKriging, ...],
    record: np.ndarray,
) -> ResidualKriging:
    """Fit a kriging to residuals `left` and their partials `bent` at points; lengths are sought where they were."""
    first = before[0].kriging.length_indices if before else None
    kriging = krige(points, left, bent, first, noisy, KrigingConfiguration(kernel=kernel))
    at, along = kriging.evaluate(np.zeros((1, points.shape[1])))
    return ResidualKriging(kriging, at[0], np.where(known, along[0], 0.0), spread, record)


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

    Where the residuals at the nearest two points are less than 1 / `_DIGITS` of those far off, the round-off of the far
    ones would take too many digits of the near residuals.
    """
    size = np.maximum(np.abs(left), np.abs(np.nansum(bent * z[:, None, :], axis=2)))
    near = np.maximum(size[1:_NEAREST].max(axis=0, initial=0.0), 1e-14 * np.maximum(1.0, np.abs(y[0])))
    return (size <= _DIGITS * near).all(axis=1)  # always so at the first `_NEAREST`: at the iterate the size is 0


def _records(previous: CorrectedSurrogate | None, data: Dataset, newest: Sequence[int]) -> np.ndarray:
    """Records (r, m), for each of `KRIGED`, after the newest points; 0 for what the last correction did not have."""
    records = np.zeros((len(KRIGED), data.m))
    if previous is None:
        return records
    correction, surrogate = previous.correction, previous.surrogate
    if not len(newest):
        for record, kriging in zip(records, correction.krigings, strict=False):
            record[:] = kriging.record
        return records
    x, y = data.x[list(newest)], data.y[list(newest)]
    z, truth = correction.scaling.scale_inputs(x), correction.scaling.scale_outputs(y)
    size = _ROUND_OFF * np.maximum(1.0, np.abs(truth))
    if surrogate is not None:
        truth = truth - _evaluated(surrogate, correction.scaling, x)[0]
    error = truth - correction.plain(z)[0]
    without = np.abs(error) + size
    for record, kriging in zip(records, correction.krigings, strict=False):
        with_it = np.abs(error - kriging.evaluate(z)[0]) + size
        surprise = np.clip(np.log(with_it / without), -_SURPRISE, _SURPRISE)
        record[:] = _MEMORY * kriging.record + surprise.mean(axis=0)
    return records


def shares_of(records: np.ndarray, carried: np.ndarray | bool = False) -> np.ndarray:
    """Return shares (r, m) of krigings by their records (r, m).

    Each kriging has a weight of exp(-record), the product of its ratios of past errors, inverted; the model without
    kriging, whose record is 0, has a weight of 1 and the share that is left. A mean of models misleads less than the
    best one of the past: candidates are sought where a single model is too optimistic.

    Args:
        records: Records (r, m), see `ResidualKriging`; they count up to `_CLEAR`.
        carried: Outputs whose partials at the iterate are carried there, bool (m,): there the model without kriging has
            no share.

    Returns:
        Positive shares (r, m), whose sum over the krigings is below 1, or 1 where partials are carried.
    """
    weights = np.exp(-np.clip(records, -_CLEAR, _CLEAR))
    return np.asarray(weights / (np.where(carried, 0.0, 1.0) + weights.sum(axis=0)))


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
