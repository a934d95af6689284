"""A torch module as a prior: in physical units, only trainable parameters move, a file keeps its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradopt
from gradopt import MLP, Dataset, GradINN, Variable
from gradopt.data.scaling import Scaling
from gradopt.errors import InputError, ShapeError
from gradopt.priors import Custom
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates.gradinn.auxiliary import ModuleField

QUICK = GradINN((6,), activation="tanh", solver=LevenbergMarquardt(max_iterations=60), starts=2, collocation=20)
CPU = torch.device("cpu")


class Decay(nn.Module):
    """dy/dt = -rate y0 exp(-rate t), dy/dp = level."""

    def __init__(self, rate: float, level: float = 3.0) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate))
        self.level = nn.Parameter(torch.tensor(level), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        slope = -10.0 * self.rate * torch.exp(-self.rate * x[:, :1])
        return torch.cat([slope, self.level.expand(len(x), 1)], dim=1)


def decay(n: int, seed: int = 0) -> Dataset:
    """y = 10 exp(-2 t) + 3 p."""
    t, p = np.random.default_rng(seed).uniform([0.0, 10.0], [2.0, 30.0], (n, 2)).T
    y = 10.0 * np.exp(-2.0 * t) + 3.0 * p
    return Dataset(np.stack([t, p], axis=1), y[:, None], inputs=[Variable("t", units="s"), Variable("p", units="Pa")])


def error(surrogate: gradopt.Surrogate) -> float:
    test = decay(300, seed=9)
    return float(np.sqrt(np.mean((surrogate.predict(test.x) - test.y) ** 2)))


def test_a_correct_module_lowers_the_error_for_few_values() -> None:
    data = decay(6)
    fitted = replace(QUICK, prior=Decay(2.0)).fit(data)
    assert fitted.fit_result.prior is not None and fitted.fit_result.prior.kept
    assert error(fitted) < 0.5 * error(MLP((6,), activation="tanh", starts=2).fit(data))


def test_training_moves_trainable_parameters_alone() -> None:
    """A wrong rate is corrected, a level that requires no gradient stays, and the user's module is unchanged."""
    module, data = Decay(1.0), decay(40)
    fitted = replace(QUICK, prior=module, weight=1.0, alpha=1e-6).fit(data)
    moved = fitted.networks[0].auxiliary
    assert moved is not None and moved.shape == (1,)
    assert module.rate.item() + moved[0] == pytest.approx(2.0, abs=0.1)
    assert module.rate.item() == 1.0 and module.level.item() == 3.0


def field_of(module: nn.Module, data: Dataset) -> ModuleField:
    found = Custom(module).field(data, Scaling.of(data), torch.float64, CPU)
    assert isinstance(found, ModuleField)
    return found


def test_field_is_the_module_in_standardized_units() -> None:
    data = decay(5)
    scaling, module = Scaling.of(data), Decay(1.5)
    field = field_of(module, data)
    z, phi = torch.tensor(scaling.scale_inputs(data.x)), torch.zeros(1, dtype=torch.float64)
    standardized = field.partials(phi, z)
    with torch.no_grad():
        expected = module.double()(torch.tensor(data.x))[:, None].numpy()
    found = scaling.unscale_partials(data.x, data.y, standardized.detach().numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert field.parameter_groups[1] == ("rate",) and field.n_parameters == 1


def test_derivatives_of_the_field_are_those_of_the_module() -> None:
    data, phi = decay(5), torch.tensor([0.3], dtype=torch.float64)
    field, z = field_of(Decay(1.5), data), torch.tensor(Scaling.of(data).scale_inputs(data.x))
    partials, jacobian = field.linearized(phi, z)
    above, below = (field.partials(phi + step, z).detach() for step in (1e-6, -1e-6))
    torch.testing.assert_close(partials, field.partials(phi, z).detach())
    torch.testing.assert_close(jacobian[..., 0], (above - below) / 2e-6, rtol=1e-7, atol=1e-9)


def test_a_module_without_trainable_parameters_is_a_fixed_prior() -> None:
    module = Decay(2.0).requires_grad_(False)
    fitted = replace(QUICK, prior=module).fit(decay(8))
    auxiliary = fitted.networks[0].auxiliary
    assert auxiliary is not None and not auxiliary.size
    assert fitted.fit_result.prior is not None and np.isfinite(fitted.std(decay(3).x)).all()


def test_file_predicts_without_the_module(tmp_path: Path) -> None:
    data = decay(8)
    fitted = replace(QUICK, prior=Decay(2.0)).fit(data)
    fitted.save(tmp_path / "decay")
    twin = gradopt.load(tmp_path / "decay")
    assert np.array_equal(twin.predict(data.x), fitted.predict(data.x)) and twin.digest == fitted.digest
    assert isinstance(twin.configuration, GradINN)
    with pytest.raises(InputError, match=r"`prior` must have its module, got a prior read from a file"):
        twin.configuration.fit(data)
    again = replace(twin.configuration, prior=Decay(2.0)).fit(data, warm_start=twin)
    assert again.networks[0].auxiliary is not None


class Wrong(nn.Module):
    def __init__(self, found: object) -> None:
        super().__init__()
        self.found = found

    def forward(self, x: Tensor) -> object:
        return self.found


@pytest.mark.parametrize(
    ("found", "error", "message"),
    [
        (
            torch.ones(2, 3),
            ShapeError,
            r"`prior` must return partials of shape \(n, m, d\) = \(2, 1, 2\).*got \(2, 3\)",
        ),
        (torch.ones(4), ShapeError, r"got \(4,\)"),
        (1.0, ShapeError, "got float"),
        (torch.full((2, 2), torch.nan), InputError, "`prior` must return finite partials"),
    ],
)
def test_a_module_that_returns_something_else_is_refused(found: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        replace(QUICK, prior=Wrong(found)).fit(decay(6))


def test_a_module_with_transformed_variables_is_refused() -> None:
    data = replace(decay(6), inputs=[Variable("t"), Variable("p", transform="log")])
    with pytest.raises(
        InputError,
        match="`prior` must be a named prior where a variable has a transform, got the module .*Remove the transforms",
    ):
        replace(QUICK, prior=Decay(2.0)).fit(data)
