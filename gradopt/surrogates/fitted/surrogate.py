"""The fitted surrogate: predicts, linearizes, polishes, saves."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gradopt.data.arrays import as_floats, check_finite, check_matrix
from gradopt.data.dataset import Dataset, check_dataset
from gradopt.data.scaling import Scaling, check_input_domain, column_transforms
from gradopt.data.variables import Variable, column_bounds, column_names
from gradopt.errors import InputError, explain
from gradopt.networks.jacobian import trace
from gradopt.networks.mlp import Network
from gradopt.surrogates.configurations.polish import Polish, check_candidate
from gradopt.surrogates.fitted import container
from gradopt.surrogates.fitted.evaluation import SurrogateEvaluation, mean_of
from gradopt.surrogates.fitting.networks import Member, continue_networks
from gradopt.surrogates.fitting.trainable import check_held, check_trainable
from gradopt.surrogates.protocol import Configuration
from gradopt.surrogates.uncertainty.laplace import posteriors_of
from gradopt.surrogates.uncertainty.posterior import Posterior, std_of, std_partials_of
from gradopt.training.result import Callback, FitResult, Status
from gradopt.versions import versions

logger = logging.getLogger("gradopt")

_FAR = 10.0  # domain widths beyond which an input is rather in other units or in another order than meant


class FitInterrupted(KeyboardInterrupt):
    """Ctrl-C came during a fit; the best state so far is kept.

    Attributes:
        surrogate: The surrogate with the best parameters so far; pass it as `warm_start` to continue.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        """Keep the surrogate."""
        result = surrogate.fit_result
        super().__init__(
            f"fit interrupted after {result.iterations} iterations, loss {result.total_loss:.3e}. Catch "
            "gradopt.FitInterrupted and use its `.surrogate`; continue with fit(data, warm_start=surrogate)."
        )
        self.surrogate = surrogate


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A fitted network, or the average of a few; immutable. Made by `JENN.fit`, `MLP.fit` or `gradopt.load`.

    Attributes:
        configuration: Settings of the fit.
        members: The networks whose answers are averaged, the best first.
        scaling: Standardization of its inputs and outputs.
        inputs: Variables of the input columns.
        outputs: Variables of the output columns.
        lower: Lower edge of the domain (d,), physical: the bounds of the variables, elsewhere the data's.
        upper: Upper edge of the domain (d,).
        fit_result: How the last fit or polish of the best network went.
        data_digest: `Dataset.digest` of the data of the last fit or polish.
        posteriors: What each network does not know; empty where that was not computed.
    """

    configuration: Configuration
    members: tuple[Member, ...]
    scaling: Scaling
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    lower: np.ndarray
    upper: np.ndarray
    fit_result: FitResult
    data_digest: str
    posteriors: tuple[Posterior, ...] = ()

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        for name in ("lower", "upper"):
            array = np.array(getattr(self, name))
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def network(self) -> Network:
        """Shape of the best network."""
        return self.members[0].network

    @property
    def theta(self) -> np.ndarray:
        """Parameters of the best network (n_parameters,)."""
        return self.members[0].theta

    @property
    def d(self) -> int:
        """Number of input columns."""
        return len(self.lower)

    @property
    def m(self) -> int:
        """Number of output columns."""
        return len(self.scaling.output_mean)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that determines the answers."""
        found = hashlib.sha256(repr((self._shapes(), self.inputs, self.outputs)).encode())
        for array in self._arrays().values():
            found.update(array.tobytes())
        return found.hexdigest()

    @cached_property
    def _tensors(self) -> tuple[list[Tensor], list[Tensor]]:
        real = [torch.tensor(member.theta) for member in self.members]
        return real, [theta.to(torch.complex128) for theta in real]

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Predict outputs.

        Args:
            x: Inputs (n, d), physical, in the order of `inputs`; complex numbers pass (complex step).

        Returns:
            Outputs (n, m), physical.

        Raises:
            InputError: If `x` is not finite, or so far outside the domain that units or order must be wrong.
            ShapeError: If `x` has another shape.
        """
        return self.evaluate(self._checked(x)).y

    def linearize(self, x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Predict outputs and their exact partials in one pass.

        Args:
            x: Inputs (n, d), physical, in the order of `inputs`.

        Returns:
            Outputs (n, m) and partials (n, m, d), unit of y per unit of x.

        Raises:
            InputError: If `x` is not finite, or so far outside the domain that units or order must be wrong.
            ShapeError: If `x` has another shape.
        """
        found = self.evaluate(self._checked(x))
        return found.y, found.dydx()

    def evaluate(self, x: np.ndarray) -> SurrogateEvaluation:
        """Evaluate without any check, for callers that check by themselves.

        Args:
            x: Inputs (n, d), float64 or complex128.

        Returns:
            The forward pass; `.y` (n, m), `.dydx()` (n, m, d).
        """
        thetas = self._tensors[1 if np.iscomplexobj(x) else 0]
        shares = tuple(member.share for member in self.members)
        with torch.no_grad():
            scaled = torch.from_numpy(self.scaling.scale_inputs(x))
            runs = tuple(trace(m.network, theta, scaled) for m, theta in zip(self.members, thetas, strict=True))
            values = mean_of([run.values for run in runs], shares).numpy()
        return SurrogateEvaluation(x, self.scaling.unscale_outputs(values), self.scaling, runs, shares)

    def std(self, x: ArrayLike) -> np.ndarray:
        """Predict how far the outputs are off: standard deviations, see `gradopt.surrogates.uncertainty.posterior`.

        About 90 % of the truths, with their noise, lie within 1.645 of them
        (scripts/surrogates/uncertainty_coverage.py).

        Args:
            x: Inputs (n, d), physical, in the order of `inputs`; real.

        Returns:
            Standard deviations (n, m), physical; to first order where an output has a transform.

        Raises:
            InputError: As `predict`, and if the surrogate has no posterior.
            ShapeError: If `x` has another shape.
        """
        values = self._checked(x, allow_complex=False)
        std = std_of(self.members, self.posteriors, self.scaling.scale_inputs(values))
        return self.scaling.unscale_std(self.evaluate(values).y, std)

    def std_partials(self, x: ArrayLike) -> np.ndarray:
        """Predict how far the partials are off: standard deviations, as of the outputs by `std`; it raises the same.

        Fitted to values alone a network knows its partials badly; there they are rougher, and rather too small.

        Args:
            x: Inputs (n, d), physical, in the order of `inputs`; real.

        Returns:
            Standard deviations (n, m, d), unit of y per unit of x; 0 with respect to inputs held fixed.
        """
        values = self._checked(x, allow_complex=False)
        found = self.evaluate(values)
        bend = self.scaling.bend(found.y, found.standardized_dydx())
        std = std_partials_of(self.members, self.posteriors, self.scaling.scale_inputs(values), bend)
        return self.scaling.unscale_partials(values, found.y, std)

    def polish(
        self,
        data: Dataset,
        polish: Polish | None = None,
        callback: Callback | None = None,
        candidate: ArrayLike | None = None,
    ) -> Surrogate:
        """Continue training from the present parameters with the flat regions, or those near a candidate, magnified.

        The scaling of the first fit is kept, so nothing moves before the first step.

        Args:
            data: Samples of the same variables, about "flat" with partials; usually the training data.
            polish: What to magnify and how much; None = `Polish()`, with a candidate `Polish(about="candidate")`.
            callback: See `gradopt.training.result.Callback`.
            candidate: Point (d,), physical, near which samples are magnified; given with about="candidate" only.

        Returns:
            The polished surrogate; this one is unchanged.

        Raises:
            InputError: If the data have other variables or (about "flat") no known partials, or if a candidate is
                missing or of no use.
            ShapeError: If the candidate has another shape.
        """
        check_dataset("data", data)
        self.check_variables_of(data)
        if polish is not None and not isinstance(polish, Polish):
            remedy = "Pass an object, such as Polish(magnitude=100)."
            raise InputError(explain("polish", "be a Polish or None", repr(polish), remedy))
        polish = polish or Polish(about="flat" if candidate is None else "candidate")
        if (polish.about == "candidate") != (candidate is not None):
            expected = "be a point (d,)" if candidate is None else "be None where the polish is about 'flat'"
            remedy = "Pass polish(data, Polish(about='candidate'), candidate=x), or neither."
            raise InputError(explain("candidate", expected, repr(candidate), remedy))
        beta, gamma = self.configuration.data_weights(data)
        note = f"Polished with {polish}."
        if candidate is None:
            if not gamma.any():
                remedy = "This surrogate was fitted to values alone; fit a JENN to polish it."
                raise InputError(explain("data", "have partials that the surrogate is fitted to", "none", remedy))
            gamma = gamma * polish.factors(data, self.scaling)
        else:
            point = check_candidate(candidate, data)
            of_values, of_partials = polish.factors_near(data, self.scaling, point)
            beta, gamma = beta * of_values, gamma * of_partials
            note = f"Polished with {polish} about {point.tolist()}."
        return self.refit(data, (beta, gamma), callback, notes=(note,))

    def refit(
        self,
        data: Dataset,
        weights: tuple[np.ndarray, np.ndarray],
        callback: Callback | None,
        notes: tuple[str, ...] = (),
    ) -> Surrogate:
        """Continue training from the present parameters in the present scaling; weights that were learned are kept.

        Args:
            data: Samples of the same variables.
            weights: beta (n, m) and gamma (n, m, d).
            callback: See `gradopt.training.result.Callback`.
            notes: Put before the notes of the fit result.

        Returns:
            The new surrogate; its domain covers the new data.

        Raises:
            FitInterrupted: On Ctrl-C, with the state so far.
        """
        check_trainable(data)
        check_held(data, self.scaling)
        members, result = continue_networks(
            self.configuration, self.members, data, self.scaling, weights, callback, keep=True
        )
        low, high = domain(data, self.scaling)
        surrogate = replace(
            self,
            members=members,
            lower=np.minimum(self.lower, low),
            upper=np.maximum(self.upper, high),
            fit_result=replace(result, notes=notes + result.notes),
            data_digest=data.digest,
            posteriors=posteriors_of(self.configuration, members, data, self.scaling),
        )
        return finished(surrogate, result.notes)

    def save(self, path: str | Path) -> None:
        """Write the surrogate to a file (safetensors with a JSON header), atomically; read it with `gradopt.load`.

        Args:
            path: Where to write; an existing file is replaced.
        """
        settings = self.configuration.to_dict()
        arrays = {f"configuration.{name}": v for name, v in settings.items() if isinstance(v, np.ndarray)}
        header = {
            "configuration": {name: v for name, v in settings.items() if not isinstance(v, np.ndarray)},
            "networks": self._shapes(),
            "inputs": [variable.to_dict() for variable in self.inputs],
            "outputs": [variable.to_dict() for variable in self.outputs],
            "fit_result": self.fit_result.to_dict(),
            "data_digest": self.data_digest,
            "versions": versions(),
        }
        arrays |= {f"auxiliary.{i}": m.auxiliary for i, m in enumerate(self.members) if m.auxiliary is not None}
        for index, posterior in enumerate(self.posteriors):
            arrays |= {f"posterior.{index}.{name}": array for name, array in posterior.to_arrays().items()}
        container.write(path, header, {**self._arrays(), **arrays})

    def _shapes(self) -> list[dict[str, Any]]:
        """What tells the networks apart from others of the same parameters, as plain JSON values."""
        return [
            {**asdict(m.network), "share": m.share, "learned": m.learned and asdict(m.learned)} for m in self.members
        ]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            **{f"theta.{index}": member.theta for index, member in enumerate(self.members)},
            "input_mean": self.scaling.input_mean,
            "input_scale": self.scaling.input_scale,
            "output_mean": self.scaling.output_mean,
            "output_scale": self.scaling.output_scale,
            "lower": self.lower,
            "upper": self.upper,
        }

    def check_variables_of(self, data: Dataset) -> None:
        """Raise `InputError` unless the data have this surrogate's variables."""
        for name, mine, theirs in (
            ("inputs", self.inputs, data.input_variables),
            ("outputs", self.outputs, data.output_variables),
        ):
            if mine != theirs:
                remedy = "Build the dataset with the variables of the surrogate, in its order and units."
                raise InputError(explain(f"data.{name}", f"equal the surrogate's {mine}", theirs, remedy))

    def _checked(self, x: ArrayLike, allow_complex: bool = True) -> np.ndarray:
        values = as_floats("x", x, allow_complex=allow_complex)
        names = column_names(self.inputs)
        check_matrix("x", values, self.d, "(n, d)")
        check_finite("x", values, names, "Drop those rows.")
        width = self.upper - self.lower
        reach = _FAR * np.where(width > 0.0, width, np.inf)
        far = (values.real < self.lower - reach) | (values.real > self.upper + reach)
        if far.any():
            row, column = (int(index) for index in np.argwhere(far)[0])
            variable = next(v for v in self.inputs if names[column] in v.columns)
            raise InputError(
                explain(
                    "x",
                    f"lie near the domain [{self.lower[column]:g}, {self.upper[column]:g}] in column {names[column]!r}",
                    f"{values[row, column].real:g} in row {row}, over {_FAR:g} widths away",
                    f"Are its units {variable.units or '(none)'}, and are the columns in the order {names}?",
                )
            )
        check_input_domain(values, self.inputs)
        return values


def domain(data: Dataset, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Where a surrogate of some data may be asked.

    Args:
        data: The training data.
        scaling: Its scaling, which knows the columns that are held fixed.

    Returns:
        Lower and upper edges, each (d,), physical: the bounds of the variables; those of the data where there are
        none, where a transform has no value at the bound, or where the column is held fixed.
    """
    low, high = column_bounds(data.input_variables)
    transforms = np.array(column_transforms(data.input_variables))
    use_low = np.isfinite(low) & ((transforms == None) | (low > 0.0))  # noqa: E711 (elementwise)
    use_high = np.isfinite(high) & ((transforms != "logit") | (high < 1.0))
    free = ~scaling.constant
    return (
        np.where(use_low & free, low, data.x.min(axis=0)),
        np.where(use_high & free, high, data.x.max(axis=0)),
    )


def finished(surrogate: Surrogate, notes: Sequence[str]) -> Surrogate:
    """Return the surrogate of a fit that ended, or raise `FitInterrupted` with it; warn of what is to be noted."""
    for note in notes:
        logger.warning(note)
    if surrogate.fit_result.status is Status.INTERRUPTED:
        raise FitInterrupted(surrogate)
    return surrogate
