"""Surrogates survive their files; files are written atomically; other files are refused with a reason."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

import gradopt
from gradopt import JENN, MLP, Dataset, Surrogate, Variable
from gradopt.errors import FileFormatError
from gradopt.networks.mlp import TRENDS
from gradopt.solvers import LBFGS, Adam, LevenbergMarquardt
from gradopt.surrogates.fitted import container
from gradopt.surrogates.fitting.trained_network import TrainedNetwork

FILES = Path(__file__).parent / "files"
QUICK = JENN((3,), solver=LevenbergMarquardt(max_iterations=4), starts=1)


def bowl(n: int = 8, inputs: tuple[Variable, ...] | None = None) -> Dataset:
    x = np.random.default_rng(2).uniform(0.1, 0.9, (n, 2))
    return Dataset(x, (x**2).sum(axis=1, keepdims=True), 2.0 * x[:, None, :], inputs)


def with_trend(surrogate: Surrogate, trend: str | None) -> Surrogate:
    network = replace(surrogate.network, trend=trend)
    coefficients = np.arange(1.0, network.n_parameters - len(surrogate.theta) + 1.0)
    trained = TrainedNetwork(network, np.concatenate([surrogate.theta, coefficients]))
    return replace(surrogate, networks=(trained,), posteriors=())


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    """Fit a small surrogate once."""
    return QUICK.fit(bowl())


@pytest.fixture
def saved(surrogate: Surrogate, tmp_path: Path) -> Path:
    """Save it."""
    path = tmp_path / "bowl.gradopt"
    surrogate.save(path)
    return path


def contents(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def rewrite(path: Path, **changes: str) -> None:
    metadata, arrays = contents(path)
    save_file(arrays, path, {**metadata, **changes})


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_come_as_text_or_path(surrogate: Surrogate, tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    path = kind(tmp_path / "bowl")
    surrogate.save(path)
    assert gradopt.load(path).digest == surrogate.digest


@pytest.mark.parametrize("extra", range(0, 256, 8))
def test_a_header_of_any_length_is_read(tmp_path: Path, extra: int) -> None:
    path = tmp_path / "bowl"
    container.write(path, {"padding": "x" * extra}, {"a": np.arange(3.0)})
    assert container.read(path)[0] == {"padding": "x" * extra}


@pytest.mark.parametrize("beta", [2.0, [[0.5]], np.linspace(0.0, 1.0, 8)[:, None]], ids=["number", "list", "array"])
@pytest.mark.parametrize("gamma", [0.5, np.linspace(0.0, 1.0, 16).reshape(8, 1, 2)], ids=["number", "array"])
def test_weights_survive(tmp_path: Path, beta: Any, gamma: Any) -> None:
    data = bowl()
    original = replace(QUICK, beta=beta, gamma=gamma).fit(data)
    original.save(tmp_path / "bowl")
    loaded = gradopt.load(tmp_path / "bowl").configuration
    for mine, theirs in zip(original.configuration.data_weights(data), loaded.data_weights(data), strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize(
    "solver",
    ["auto", "lbfgs", LevenbergMarquardt(3, damping=0.1), LBFGS(3, memory=5), Adam(2, 5, schedule="constant")],
    ids=str,
)
def test_solvers_survive_with_their_hyperparameters(tmp_path: Path, solver: Any) -> None:
    MLP((2,), solver=solver, starts=1).fit(bowl(), callback=lambda progress: True).save(tmp_path / "bowl")
    assert gradopt.load(tmp_path / "bowl").configuration.solver == solver


@pytest.mark.parametrize(
    "variable",
    [
        Variable("u", (2,), units="m", lower=[0.0, 0.1], upper=1.0, transform="log"),
        Variable("u", (1, 2), transform="logit"),
        Variable("u", (2,), lower=[0.0, -np.inf], upper=np.inf),
    ],
    ids=["bounded", "logit", "half bounded"],
)
def test_variables_survive(tmp_path: Path, variable: Variable) -> None:
    QUICK.fit(bowl(inputs=(variable,))).save(tmp_path / "bowl")
    assert gradopt.load(tmp_path / "bowl").inputs == (variable,)


@pytest.mark.parametrize("trend", TRENDS)
def test_the_trend_survives_with_its_predictions(surrogate: Surrogate, tmp_path: Path, trend: str | None) -> None:
    original = with_trend(surrogate, trend)
    original.save(tmp_path / "bowl")
    loaded = gradopt.load(tmp_path / "bowl")
    assert loaded.network == original.network
    assert loaded.digest == original.digest
    x = bowl(5).x
    for mine, theirs in zip(original.linearize(x), loaded.linearize(x), strict=True):
        assert np.array_equal(mine, theirs)


def test_an_average_survives_with_its_shares_and_learned_weights(surrogate: Surrogate, tmp_path: Path) -> None:
    other = replace(QUICK, seed=1, activation="sin", trend="linear").fit(bowl())
    networks = replace(surrogate.networks[0], share=0.7), replace(other.networks[0], share=0.3)
    original = replace(surrogate, networks=networks, posteriors=surrogate.posteriors + other.posteriors)
    original.save(tmp_path / "bowl")
    loaded, x = gradopt.load(tmp_path / "bowl"), bowl(5).x
    assert [trained.network for trained in loaded.networks] == [surrogate.network, other.network]
    assert [trained.share for trained in loaded.networks] == [0.7, 0.3]
    assert [trained.learned for trained in loaded.networks] == [s.fit_result.learned for s in (surrogate, other)]
    assert loaded.digest == original.digest
    for mine, theirs in zip(original.linearize(x), loaded.linearize(x), strict=True):
        assert np.array_equal(mine, theirs)
    assert np.array_equal(loaded.std(x), original.std(x))


def test_a_file_of_schema_version_1_is_read(tmp_path: Path) -> None:
    written = JENN((3,), activation="tanh", alpha=1e-8, solver=LevenbergMarquardt(max_iterations=4), starts=1)
    surrogate = written.fit(bowl())
    surrogate.save(tmp_path / "bowl")
    header, arrays, _ = container.read(tmp_path / "bowl")
    (shape,) = header.pop("networks")
    header["network"] = {name: shape[name] for name in ("layer_sizes", "activation")}
    result = header["fit_result"]
    result["loss"]["prior"] = result["loss"].pop("regularization")
    del result["learned"], result["prior"], header["configuration"]["weights"], header["configuration"]["trend"]
    arrays["theta"] = arrays.pop("theta.0")
    container.write(
        tmp_path / "bowl", header, {name: v for name, v in arrays.items() if not name.startswith("posterior")}
    )
    rewrite(tmp_path / "bowl", schema_version="1")
    loaded = gradopt.load(tmp_path / "bowl")
    assert loaded.digest == surrogate.digest
    assert np.array_equal(loaded.linearize(bowl(5).x)[1], surrogate.linearize(bowl(5).x)[1])
    assert loaded.fit_result == surrogate.fit_result
    assert np.array_equal(written.fit(bowl(), loaded).theta, written.fit(bowl(), surrogate).theta)
    assert np.array_equal(loaded.configuration.fit(bowl()).theta, surrogate.theta)  # type: ignore[attr-defined]


def test_a_file_of_schema_version_2_is_read() -> None:
    """The file is of gradopt 0.1.0: 9 values of exp(2 a) + b^2, fitted with a prior of increasing outputs."""
    loaded = gradopt.load(FILES / "gradinn_schema_2.safetensors")
    at = np.array([[0.2, 0.3], [0.7, 0.4]])
    np.testing.assert_allclose(loaded.predict(at), [[1.8584453514430535], [4.229259136000792]], rtol=1e-12)
    np.testing.assert_allclose(loaded.std(at), [[0.22713240671953766], [0.08845828778992426]], rtol=1e-9)
    result, prior = loaded.fit_result, loaded.fit_result.prior
    assert result.loss == {
        "values": 1.0598496697671043e-05,
        "partials": 0.0,
        "regularization": 2.167540489628889,
        "prior": 2.3866185546447447,
    }
    assert prior is not None and prior.kept
    assert (prior.expected, prior.learned, prior.difference) == (
        1.107225749114249,
        1.1132940963206475,
        0.11470124511604637,
    )
    assert (prior.gain, prior.standard_error) == (8.882744726729946, 2.7424258173397176)
    assert set(prior.shares) == {"values", "partials", "prior"}
    assert result.learned is not None and result.learned == loaded.networks[0].learned
    assert result.learned.groups[3:5] == ("layer 2", "prior, input 0")


def test_a_fit_that_diverged_can_be_saved(tmp_path: Path) -> None:
    wild = MLP((3,), solver=Adam(epochs=5, learning_rate=1e200), starts=1).fit(bowl())
    assert wild.fit_result.status is gradopt.solvers.Status.NOT_FINITE
    wild.save(tmp_path / "wild")
    assert gradopt.load(tmp_path / "wild").fit_result.status is gradopt.solvers.Status.NOT_FINITE


def test_a_numpy_integer_as_seed_can_be_saved(tmp_path: Path) -> None:
    seed: Any = np.int64(3)
    replace(QUICK, seed=seed).fit(bowl()).save(tmp_path / "bowl")
    assert gradopt.load(tmp_path / "bowl").fit_result.seed == 3


def test_a_fit_on_cuda_loads_on_a_machine_without(
    surrogate: Surrogate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("gradopt.surrogates.configurations.jenn._check_device", lambda device: None)
        replace(surrogate, configuration=replace(QUICK, device="cuda")).save(tmp_path / "bowl")
    assert gradopt.load(tmp_path / "bowl").configuration.device == "cpu"


def test_saving_replaces_an_older_file(surrogate: Surrogate, tmp_path: Path) -> None:
    path = tmp_path / "bowl"
    path.write_text("older")
    surrogate.save(path)
    assert gradopt.load(path).digest == surrogate.digest
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_save_that_fails_leaves_the_older_file_and_no_other(
    surrogate: Surrogate, saved: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise failure

    before = saved.read_bytes()
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(failure)):
        moved = replace(surrogate.networks[0], theta=surrogate.theta + 1.0)
        replace(surrogate, networks=(moved,)).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_the_file_is_flushed_to_disk_before_it_appears(
    surrogate: Surrogate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((tmp_path / "bowl").exists()))
    surrogate.save(tmp_path / "bowl")
    assert seen[0] is False


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)], ids=oct)
def test_permissions_follow_the_umask(surrogate: Surrogate, tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        surrogate.save(tmp_path / "bowl")
        after = os.umask(umask)
    finally:
        os.umask(before)
    assert (tmp_path / "bowl").stat().st_mode & 0o777 == mode
    assert after == umask


def test_a_missing_file_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        gradopt.load(tmp_path / "nowhere")


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_never_opened(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "bowl"
    path.write_bytes(pickle.dumps(Trap(), protocol=protocol))
    with pytest.raises(FileFormatError, match="pickle .* never opens" if protocol > 1 else "no safetensors file"):
        gradopt.load(path)
    assert not Trap.sprung


class Trap:
    """An object that records its unpickling."""

    sprung = False

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Spring on unpickling."""
        return setattr, (Trap, "sprung", True)


def test_a_torch_archive_is_never_opened(tmp_path: Path) -> None:
    torch.save({"theta": torch.zeros(3)}, tmp_path / "bowl")
    with pytest.raises(FileFormatError, match=r"torch\.save archive, .*run any code.*`surrogate\.save\(path\)`"):
        gradopt.load(tmp_path / "bowl")


@pytest.mark.parametrize("content", [b"", b"\x10", b"x", b"plain text, no tensor in it", bytes(64)], ids=repr)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bowl").write_bytes(content)
    with pytest.raises(FileFormatError, match="bowl' is no safetensors file, or a truncated one"):
        gradopt.load(tmp_path / "bowl")


@pytest.mark.parametrize("left", [7, 8, 100, -8, -1])
def test_a_truncated_file_is_refused(saved: Path, left: int) -> None:
    saved.write_bytes(saved.read_bytes()[:left])
    with pytest.raises(FileFormatError, match="truncated one .*Copy the original file again"):
        gradopt.load(saved)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}], ids=["none", "pt"])
def test_a_file_of_another_program_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"theta": np.zeros(3)}, tmp_path / "bowl", metadata)
    with pytest.raises(FileFormatError, match="of another program .*expected 'gradopt.surrogate'"):
        gradopt.load(tmp_path / "bowl")


@pytest.mark.parametrize("version", ["4", "999", ""])
def test_a_newer_file_is_refused_with_an_upgrade_as_remedy(saved: Path, version: str) -> None:
    rewrite(saved, schema_version=version)
    with pytest.raises(FileFormatError, match=f"version '{version}', .* up to 3.*`pip install -U gradopt`"):
        gradopt.load(saved)


def test_a_changed_header_is_noticed(saved: Path) -> None:
    header = contents(saved)[0]["header"]
    assert '"softplus"' in header
    rewrite(saved, header=header.replace('"softplus"', '"silu"'))
    with pytest.raises(FileFormatError, match="was changed after it was written: its checksum"):
        gradopt.load(saved)


@pytest.mark.parametrize(
    "name", ["theta.0", "input_mean", "input_scale", "output_mean", "output_scale", "lower", "upper"]
)
def test_a_changed_tensor_is_noticed(saved: Path, name: str) -> None:
    metadata, arrays = contents(saved)
    arrays[name] = np.nextafter(arrays[name], np.inf)
    save_file(arrays, saved, metadata)
    with pytest.raises(FileFormatError, match="was changed after it was written: its checksum"):
        gradopt.load(saved)


@pytest.mark.parametrize("field", ["configuration", "networks", "inputs", "fit_result", "data_digest"])
def test_a_file_without_a_field_is_refused(saved: Path, field: str) -> None:
    header, arrays, _ = container.read(saved)
    del header[field]
    container.write(saved, header, arrays)
    with pytest.raises(FileFormatError, match=f"lacks or garbles the field '{field}'"):
        gradopt.load(saved)
