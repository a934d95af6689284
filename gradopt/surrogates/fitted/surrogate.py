"""The fitted surrogate: prediction, partials, predictive standard deviation, polishing, saving."""

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

from gradopt.data.arrays import ReadOnly, as_floats, check_finite, check_matrix, freeze_fields
from gradopt.data.dataset import Dataset, check_dataset
from gradopt.data.scaling import Scaling, check_input_domain
from gradopt.data.variables import Variable, check_same_variables, column_names
from gradopt.errors import InputError, explain
from gradopt.networks.jacobian import trace
from gradopt.networks.mlp import Network
from gradopt.surrogates.configurations.polish import Polish, check_candidate
from gradopt.surrogates.configurations.protocol import Configuration
from gradopt.surrogates.fitted import container, evaluation
from gradopt.surrogates.fitting.networks import continue_networks
from gradopt.surrogates.fitting.trained_network import TrainedNetwork
from gradopt.surrogates.fitting.training_data import check_fixed_inputs, check_training_data, domain
from gradopt.surrogates.uncertainty.laplace import posteriors_of
from gradopt.surrogates.uncertainty.posterior import Posterior, std_of, std_partials_of
from gradopt.training.result import Callback, FitResult, Status
from gradopt.versions import versions

logger = logging.getLogger("gradopt")


class FitInterrupted(KeyboardInterrupt):
    """Ctrl-C came during a fit; the best state so far is kept.

    Attributes:
        surrogate: Surrogate with the best parameters so far; pass it as `warm_start` to continue.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        """Keep the surrogate."""
        result = surrogate.fit_result
        super().__init__(
            f"fit interrupted after {result.iterations} iterations, loss {result.total_loss:.3e}. Catch "
            "gradopt.surrogates.FitInterrupted and use its `.surrogate`; continue with fit(data, warm_start=surrogate)."
        )
        self.surrogate = surrogate

    def __reduce__(self) -> tuple[type[FitInterrupted], tuple[Surrogate]]:
        """Pickle the surrogate, of which the message is made."""
        return type(self), (self.surrogate,)


@dataclass(frozen=True, eq=False)
class Surrogate(ReadOnly):
    """A fitted network, or the average of a few; immutable. Made by `JENN.fit`, `MLP.fit` or `gradopt.load`.

    Attributes:
        configuration: Settings of the fit.
        networks: Networks whose outputs are averaged, the best first.
        scaling: Standardization of inputs and outputs.
        inputs: Variables of the input columns.
        outputs: Variables of the output columns.
        lower: Lower edge of the domain (d,), physical: bounds of the variables, or of the data where there are none.
        upper: Upper edge of the domain (d,), physical.
        fit_result: Outcome of the last fit or polish of the best network.
        data_digest: `Dataset.digest` of the data of the last fit or polish.
        posteriors: Posterior of the parameters of each network; empty where none was computed.
    """

    configuration: Configuration
    networks: tuple[TrainedNetwork, ...]
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
        freeze_fields(self, "lower", "upper")

    @property
    def network(self) -> Network:
        """Shape of the best network."""
        return self.networks[0].network

    @property
    def theta(self) -> np.ndarray:
        """Parameters of the best network (n_parameters,)."""
        return self.networks[0].theta

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
        """SHA-256 of everything that determines the predictions."""
        found = hashlib.sha256(repr((self._shapes(), self.inputs, self.outputs)).encode())
        for array in self._arrays().values():
            found.update(array.tobytes())
        return found.hexdigest()

    @cached_property
    def _tensors(self) -> tuple[list[Tensor], list[Tensor]]:
        real = [torch.tensor(trained.theta) for trained in self.networks]
        return real, [theta.to(torch.complex128) for theta in real]

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Predict outputs.

        Args:
            x: Inputs (n, d), physical, in the order of `inputs`; complex for complex step.

        Returns:
            Outputs (n, m), physical.

        Raises:
            EvaluationError: If a prediction is not finite.
            InputError: If `x` is not finite, or is over 10 domain widths outside the domain.
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
            EvaluationError: If a prediction is not finite.
            InputError: If `x` is not finite, or is over 10 domain widths outside the domain.
            ShapeError: If `x` has another shape.
        """
        found = self.evaluate(self._checked(x))
        return found.y, found.dydx()

    def evaluate(self, x: np.ndarray) -> evaluation.SurrogateEvaluation:
        """Evaluate without checking the inputs.

        Args:
            x: Inputs (n, d), physical, float64 or complex128.

        Returns:
            The forward pass; `.y` (n, m), `.dydx()` (n, m, d).

        Raises:
            EvaluationError: If an output is not finite.
        """
        thetas = self._tensors[1 if np.iscomplexobj(x) else 0]
        shares = tuple(trained.share for trained in self.networks)
        with evaluation.inference():
            scaled = torch.from_numpy(self.scaling.scale_inputs(x))
            runs = tuple(trace(m.network, theta, scaled) for m, theta in zip(self.networks, thetas, strict=True))
            values = evaluation.weighted_mean([run.values for run in runs], shares).numpy()
            y = evaluation.checked_finite("outputs", self.scaling.unscale_outputs(values))
        return evaluation.SurrogateEvaluation(x, y, self.scaling, runs, shares)

    @evaluation.inference()
    def std(self, x: ArrayLike) -> np.ndarray:
        """Compute predictive standard deviations of the outputs, see `gradopt.surrogates.uncertainty.posterior`.

        About 90 % of the true values, with their noise, lie within 1.645 predictive standard deviations
        (scripts/surrogates/uncertainty_coverage.py).

        Args:
            x: Inputs (n, d), physical, in the order of `inputs`; real.

        Returns:
            Predictive standard deviations (n, m), physical; to first order where an output has a transform.

        Raises:
            EvaluationError: As `predict`, and if a standard deviation is not finite.
            InputError: As `predict`, and if the surrogate has no posterior.
            ShapeError: If `x` has another shape.
        """
        values = self._checked(x, allow_complex=False)
        y = self.evaluate(values).y
        std = std_of(self.networks, self.posteriors, self.scaling.scale_inputs(values))
        return evaluation.checked_finite("standard deviations", self.scaling.unscale_std(y, std))

    @evaluation.inference()
    def std_partials(self, x: ArrayLike) -> np.ndarray:
        """Compute predictive standard deviations of the partials.

        For a fit to values alone these are rough, and often too small.

        Args:
            x: Inputs (n, d), physical, in the order of `inputs`; real.

        Returns:
            Predictive standard deviations (n, m, d), unit of y per unit of x; 0 for inputs held fixed.

        Raises:
            EvaluationError, InputError, ShapeError: As `std`.
        """
        values = self._checked(x, allow_complex=False)
        found = self.evaluate(values)
        bend = self.scaling.transform_coupling(found.y, found.standardized_dydx())
        std = std_partials_of(self.networks, self.posteriors, self.scaling.scale_inputs(values), bend)
        return evaluation.checked_finite("standard deviations", self.scaling.unscale_partials(values, found.y, std))

    def polish(
        self,
        data: Dataset,
        polish: Polish | None = None,
        callback: Callback | None = None,
        candidate: ArrayLike | None = None,
    ) -> Surrogate:
        """Continue training with larger weights in flat regions of the response, or near a candidate.

        Training starts from the present parameters in the present scaling.

        Args:
            data: Samples of the same variables, about "flat" with partials; usually the training data.
            polish: Settings; None = `Polish()`, with a candidate `Polish(about="candidate")`.
            callback: See `gradopt.training.result.Callback`.
            candidate: Point (d,), physical, near which samples are magnified; given with about="candidate" only.

        Returns:
            The polished surrogate; this one is unchanged.

        Raises:
            InputError: If the data have other variables or (about "flat") no known partials, or if a candidate is
                missing or not used.
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
                remedy = "Polish a surrogate of JENN or GradINN, on data with partials."
                got = f"no weight on a partial by {type(self.configuration).__name__}"
                raise InputError(explain("data", "have partials that the surrogate is fitted to", got, remedy))
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
        """Continue training from the present parameters in the present scaling, with the learned weights fixed.

        Args:
            data: Samples of the same variables.
            weights: Weights beta (n, m) and gamma (n, m, d).
            callback: See `gradopt.training.result.Callback`.
            notes: Notes that precede those of the fit result.

        Returns:
            The new surrogate; its domain covers the new data.

        Raises:
            FitInterrupted: On Ctrl-C, with the state so far.
        """
        check_training_data(data)
        check_fixed_inputs(data, self.scaling)
        networks, result = continue_networks(
            self.configuration, self.networks, data, self.scaling, weights, callback, keep=True
        )
        low, high = domain(data, self.scaling)
        surrogate = replace(
            self,
            networks=networks,
            lower=np.minimum(self.lower, low),
            upper=np.maximum(self.upper, high),
            fit_result=replace(result, notes=notes + result.notes),
            data_digest=data.digest,
            posteriors=posteriors_of(self.configuration, networks, data, self.scaling),
        )
        return finish_fit(surrogate, data, result.notes)

    def save(self, path: str | Path) -> None:
        """Write the surrogate to a file (safetensors with a JSON header), atomically; read it with `gradopt.load`.

        Args:
            path: Place of the file; an existing file is replaced.
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
        arrays |= {f"auxiliary.{i}": m.auxiliary for i, m in enumerate(self.networks) if m.auxiliary is not None}
        for index, posterior in enumerate(self.posteriors):
            arrays |= {f"posterior.{index}.{name}": array for name, array in posterior.to_arrays().items()}
        container.write(path, header, {**self._arrays(), **arrays})

    def _shapes(self) -> list[dict[str, Any]]:
        """Return shape, share and learned weights of each network as plain JSON values."""
        return [
            {**asdict(m.network), "share": m.share, "learned": m.learned and asdict(m.learned)} for m in self.networks
        ]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            **{f"theta.{index}": trained.theta for index, trained in enumerate(self.networks)},
            "input_mean": self.scaling.input_mean,
            "input_scale": self.scaling.input_scale,
            "output_mean": self.scaling.output_mean,
            "output_scale": self.scaling.output_scale,
            "lower": self.lower,
            "upper": self.upper,
        }

    def check_variables_of(self, data: Dataset) -> None:
        """Check that data have this surrogate's variables; raise `InputError` otherwise."""
        remedy = "Build the dataset with the variables of the surrogate, in its order and units."
        check_same_variables("data.inputs", self.inputs, data.input_variables, remedy, exact=True)
        check_same_variables("data.outputs", self.outputs, data.output_variables, remedy, exact=True)

    def _checked(self, x: ArrayLike, allow_complex: bool = True) -> np.ndarray:
        values = as_floats("x", x, allow_complex=allow_complex)
        check_matrix("x", values, self.d, "(n, d)")
        check_finite("x", values, column_names(self.inputs), "Drop those rows.")
        evaluation.check_near_domain(values, self.lower, self.upper, self.inputs)
        check_input_domain(values, self.inputs)
        return values


def finish_fit(surrogate: Surrogate, data: Dataset, notes: Sequence[str]) -> Surrogate:
    """Return a surrogate after its fit; what is wrong is logged as a warning.

    Args:
        surrogate: Surrogate.
        data: Its training data. A surrogate that is not finite there gets the status `NOT_FINITE` and a note.
        notes: Notes of the fit, which are logged too.

    Raises:
        FitInterrupted: If the fit was interrupted.
    """
    result = surrogate.fit_result
    failure = evaluation.failure_of(lambda: surrogate.evaluate(data.x))
    doubts = (failure,) if failure else (result.status.value,) if result.status is Status.NOT_FINITE else ()
    if doubts:
        status = result.status if result.status is Status.INTERRUPTED else Status.NOT_FINITE
        surrogate = replace(surrogate, fit_result=replace(result, status=status, notes=(*result.notes, *doubts)))
    for note in (*notes, *doubts):
        logger.warning(note)
    if result.status is Status.INTERRUPTED:
        raise FitInterrupted(surrogate)
    return surrogate
