"""Files of surrogates with a right checksum: each fault of type, shape or number is named, and costs little memory."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import gradopt
from gradopt import JENN, Dataset, GradINN, Surrogate, Variable
from gradopt.errors import FileFormatError, InputError
from gradopt.surrogates.fitted import container

Change = Callable[[dict[str, Any], dict[str, np.ndarray]], object]


def fitted(configuration: Any) -> Surrogate:
    x = np.random.default_rng(2).uniform(0.1, 0.9, (8, 2))
    variables = [Variable("u", (2,), units="m", lower=0.0, upper=1.0)], [Variable("f")]
    found: Surrogate = configuration.fit(Dataset(x, (x**2).sum(axis=1, keepdims=True), 2.0 * x[:, None, :], *variables))
    return found


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    """Fit two networks with learned weights and an average."""
    return fitted(JENN((3,), starts=2))


@pytest.fixture
def saved(surrogate: Surrogate, tmp_path: Path) -> Path:
    """Save it."""
    surrogate.save(tmp_path / "bowl")
    return tmp_path / "bowl"


def changed(path: Path, change: Change) -> None:
    header, arrays, _ = container.read(path)
    change(header, arrays)
    container.write(path, header, arrays)


def network(header: dict[str, Any]) -> Any:
    return header["networks"][0]


CHANGES: dict[str, tuple[Change, str]] = {
    "no networks": (lambda h, a: h.update(networks=[]), r"`networks` must hold at least one network, got none"),
    "a NaN weight": (lambda h, a: put(a, "theta.0", np.nan), r"`theta\.0` must be finite, got nan at \[0\]"),
    "an infinite weight": (lambda h, a: put(a, "theta.0", np.inf), r"`theta\.0` must be finite, got inf at \[0\]"),
    "single precision": (
        lambda h, a: a.update({"theta.0": a["theta.0"].astype(np.float32)}),
        r"`theta\.0` must be float64 of shape \(\d+,\), got float32",
    ),
    "too few weights": (
        lambda h, a: cut(a, "theta.0"),
        r"`theta\.0` must be float64 of shape \(\d+,\), got float64 of",
    ),
    "another shape": (lambda h, a: cut(a, "input_mean"), r"`input_mean` must be float64 of shape \(2,\), got .*\(1,\)"),
    "a NaN scale": (lambda h, a: put(a, "input_scale", np.nan), r"`input_scale` must be finite, got nan at \[0\]"),
    "a negative scale": (
        lambda h, a: put(a, "input_scale", -1.0),
        r"`input_scale` must be positive, with an inverse, got -1\.0 in column 0",
    ),
    "no output scale": (
        lambda h, a: put(a, "output_scale", 0.0),
        r"`output_scale` must be positive, with an inverse, got 0\.0 in column 0",
    ),
    "a scale without inverse": (
        lambda h, a: put(a, "output_scale", 1e-310),
        r"`output_scale` must be positive, with an inverse, got 1e-310",
    ),
    "edges turned around": (
        lambda h, a: put(a, "lower", 9.0),
        r"`lower` must not be above `upper`, got 9\.0 in column 0",
    ),
    "another number of inputs": (
        lambda h, a: network(h).update(layer_sizes=[3, 3, 1]),
        r"`layer_sizes of network 0` must run from 2 input to 1 output columns, got \(3, 3, 1\)",
    ),
    "a size that is true": (
        lambda h, a: network(h).update(layer_sizes=[2, True, 1]),
        r"`Network\.layer_sizes` must be tuple\[int, \.\.\.\], got \(2, True, 1\)",
    ),
    "a billion units": (
        lambda h, a: network(h).update(layer_sizes=[2, 10**9, 1]),
        r"`theta\.0` must be float64 of shape \(4000000001,\), got",
    ),
    "a million billion billion units": (
        lambda h, a: network(h).update(layer_sizes=[2, 10**24, 1]),
        r"`theta\.0` must be float64 of shape \(4\d+,\), got",
    ),
    "another activation": (
        lambda h, a: network(h).update(activation="relu"),
        r"garbles the field `activation` must be",
    ),
    "an activation that is a list": (
        lambda h, a: network(h).update(activation=["tanh"]),
        "garbles the field `activation`",
    ),
    "another trend": (
        lambda h, a: network(h).update(trend="cubic"),
        r"garbles the field `trend` must be None, 'linear'",
    ),
    "a share of text": (lambda h, a: network(h).update(share="1"), r"`TrainedNetwork\.share` must be float, got '1'"),
    "a negative share": (
        lambda h, a: network(h).update(share=-1.0),
        r"`shares` must be positive with the sum 1, got \[-1",
    ),
    "shares beyond 1": (lambda h, a: network(h).update(share=1e9), r"`shares` must be positive with the sum 1"),
    "a share beyond numbers": (
        lambda h, a: network(h).update(share=10**400),
        r"lacks or garbles the field .*too large",
    ),
    "learned weights of text": (
        lambda h, a: network(h)["learned"].update(alpha="12345678"),
        r"`LearnedWeights\.alpha` must be tuple\[float, \.\.\.\], got \('1', ",
    ),
    "no learned weights of inputs": (
        lambda h, a: network(h)["learned"].update(alpha=[1.0], groups=["a"], determined=[1.0]),
        r"`learned` must have one entry in `alpha`, `groups` and `determined` for each of at least \d groups, got 1, 1",
    ),
    "learned weights of more outputs": (
        lambda h, a: network(h)["learned"].update(beta=[1.0, 2.0]),
        r"`beta` must have 1 entries, got 2",
    ),
    "learned weights of more partials": (
        lambda h, a: network(h)["learned"].update(gamma=[1.0, 2.0, 3.0]),
        r"`gamma` must have 2 entries, got 3",
    ),
    "learned weights that are empty": (
        lambda h, a: network(h).update(learned={}),
        r"lacks or garbles the field .*missing",
    ),
    "a posterior of no outputs": (
        lambda h, a: a.update({"posterior.0.factor": np.zeros((0, 10**9))}),
        r"`factor` must have a shape of \[\(1, \d+\), \(1, \d+\)\], got \(0, 1000000000\)",
    ),
    "a posterior with NaN": (lambda h, a: put(a, "posterior.0.factor", np.nan), r"`factor` must be finite, got nan at"),
    "a posterior without noise": (lambda h, a: a.pop("posterior.0.noise"), r"lacks or garbles the field 'noise'"),
    "noise of another shape": (lambda h, a: cut(a, "posterior.0.noise"), r"`noise` must be float64 of shape \(1, 2\)"),
    "posteriors of some networks": (
        lambda h, a: [a.pop(f"posterior.0.{name}") for name in ("factor", "noise", "inflation", "optimism")],
        r"`posteriors` must be as many as networks, \d, or none, got",
    ),
    "a status of another program": (lambda h, a: h["fit_result"].update(status="FINE"), "garbles the field 'FINE'"),
    "a loss of text": (
        lambda h, a: h["fit_result"]["loss"].update(values="small"),
        r"`FitResult\.loss` must be dict\[str, float\], got",
    ),
    "iterations that are a fraction": (
        lambda h, a: h["fit_result"].update(iterations=0.5),
        r"`FitResult\.iterations` must be int, got 0\.5",
    ),
    "notes that are numbers": (
        lambda h, a: h["fit_result"].update(notes=[1]),
        r"`FitResult\.notes` must be tuple\[str",
    ),
    "a prior result without shares": (
        lambda h, a: h["fit_result"].update(prior={"expected": 1.0, "learned": 1.0, "difference": 1.0, "shares": {}}),
        r"`shares of the prior` must hold a number, got none",
    ),
    "a digest that is a number": (lambda h, a: h.update(data_digest=3), r"`Surrogate\.data_digest` must be str, got 3"),
    "units that are code": (
        lambda h, a: h["inputs"][0].update(units="().__class__"),
        r"A variable of the file is not valid: `units` must be valid OpenMDAO units, got '\(\)\.__class__'",
    ),
    "an input called as the output": (
        lambda h, a: h["outputs"][0].update(name="u"),
        r"`outputs` must have other names",
    ),
    "a variable of a billion columns": (
        lambda h, a: h["inputs"][0].update(shape=[10**9], lower=None, upper=None),
        r"`input_mean` must be float64 of shape \(1000000000,\), got float64 of shape \(2,\)",
    ),
    "a billion columns with one bound": (
        lambda h, a: h["inputs"][0].update(shape=[10**9], lower=[0.0]),
        r"`lower` must be null or hold one number or null for each entry of the shape \[1000000000\], got \[0\.0\]",
    ),
    "variables that are text": (lambda h, a: h.update(inputs="u"), r"`variable` must have the fields"),
    "variables that are a number": (lambda h, a: h.update(inputs=3), r"lacks or garbles the field 'int' object is not"),
    "a configuration of another program": (
        lambda h, a: h["configuration"].update(kind="SVM"),
        "garbles the field 'SVM'",
    ),
    "a kind that is a list": (lambda h, a: h["configuration"].update(kind=["JENN"]), r"garbles the field unhashable"),
    "a solver of another program": (
        lambda h, a: h["configuration"].update(solver={"kind": "os.system"}),
        r"garbles the field 'os\.system'",
    ),
    "a width that is negative": (
        lambda h, a: h["configuration"].update(hidden_sizes=[-3]),
        "field `hidden_sizes` must hold",
    ),
    "a configuration that is a list": (
        lambda h, a: h.update(configuration=[1]),
        "lacks or garbles the field cannot conv",
    ),
}


def put(arrays: dict[str, np.ndarray], name: str, value: float) -> None:
    arrays[name] = arrays[name].copy()
    arrays[name].reshape(-1)[0] = value


def cut(arrays: dict[str, np.ndarray], name: str) -> None:
    arrays[name] = arrays[name][..., :-1]


@pytest.mark.parametrize("name", CHANGES)
def test_a_fault_behind_a_right_checksum_is_named_and_costs_no_memory(saved: Path, name: str) -> None:
    change, message = CHANGES[name]
    changed(saved, change)
    size = saved.stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=message):
            gradopt.load(saved)
        assert tracemalloc.get_traced_memory()[1] < 5 * size + 1_000_000
    finally:
        tracemalloc.stop()


def test_an_auxiliary_network_of_another_size_is_refused(tmp_path: Path) -> None:
    fitted(GradINN((3,), starts=1, alpha=1e-4, weight=1.0)).save(tmp_path / "bowl")
    changed(tmp_path / "bowl", lambda h, a: cut(a, "auxiliary.0"))
    with pytest.raises(
        FileFormatError, match=r"`auxiliary\.0` must be float64 of shape \(\d+,\), got float64 of shape"
    ):
        gradopt.load(tmp_path / "bowl")


def test_arrays_cannot_take_the_place_of_other_settings(saved: Path) -> None:
    changed(saved, lambda h, a: a.update({"configuration.solver": np.zeros(3), "configuration.kind": np.zeros(3)}))
    assert gradopt.load(saved).configuration.solver == "auto"


# ---- the container ----


def written(path: Path, text: str, **metadata: str) -> None:
    with safe_open(path, framework="numpy") as file:
        known = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(arrays, path, {**known, "header": text, "checksum": container._checksum(text, arrays), **metadata})


@pytest.mark.parametrize("version", ["²", "٣", "0", "-1", "01", "1e1", " 1", "1.0", "9" * 5000])
def test_a_version_that_is_no_number_of_ours_is_refused(saved: Path, version: str) -> None:
    written(saved, "{}", schema_version=version)
    with pytest.raises(FileFormatError, match=r"has schema version '.*', this gradopt reads up to 3\."):
        gradopt.load(saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "has a garbled header"),
        ('{"a": ' * 100_000 + "1" + "}" * 100_000, "has a garbled header"),
        (
            '{"a": ' * 300 + "1" + "}" * 300,
            r"`header` must be nested at most 150 levels deep, got deeper values\. Copy",
        ),
        ('{"a": NaN}', "has a garbled header"),
        ('{"a": -Infinity}', "has a garbled header"),
        (f'{{"a": {"9" * 5000}}}', "has a garbled header"),
        ("[1]", "has a garbled header"),
        ("", "has a garbled header"),
        ("[" + "[],{}," * 1_000_000, r"has a header of \d+ entries, more than the 1000000 that are read\. Pass a file"),
    ],
    ids=["lists", "dictionaries", "300 levels", "NaN", "inf", "digits", "list", "empty", "entries"],
)
def test_a_hostile_header_is_refused(saved: Path, text: str, message: str) -> None:
    written(saved, text)
    with pytest.raises(FileFormatError, match=message):
        gradopt.load(saved)


def test_arrays_of_types_that_numpy_lacks_are_refused(saved: Path) -> None:
    content = saved.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for entry in header.values():
        if entry.get("dtype") == "F64":
            entry.update(dtype="BF16", shape=[*entry["shape"][:-1], 4 * entry["shape"][-1]])
    text = json.dumps(header).encode()
    saved.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(FileFormatError, match=r"bowl'"):
        gradopt.load(saved)


@pytest.mark.parametrize("name", ["size", "offsets", "length"])
def test_arrays_that_claim_a_billion_entries_are_refused(saved: Path, name: str) -> None:
    content = saved.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if name == "size":
        header["theta.0"]["shape"] = [10**9]
    elif name == "offsets":
        header["theta.0"]["data_offsets"] = [0, 8 * 10**9]
    text = json.dumps(header).encode()
    claimed = 2**62 if name == "length" else len(text)
    saved.write_bytes(claimed.to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(FileFormatError, match="is no safetensors file, or a truncated one"):
        gradopt.load(saved)


@pytest.mark.skipif(os.name != "posix", reason="pipes in folders are those of POSIX")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"`path` must be an ordinary file, got '.*pipe'\. Name a file on a disk\."):
        gradopt.load(tmp_path / "pipe")


def test_a_large_file_is_read_in_a_few_times_its_size(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(size=(30, 4))
    data = Dataset(x, x[:, :1])
    gradopt.MLP((400, 400), starts=1, solver=gradopt.solvers.Adam(epochs=1)).fit(data).save(tmp_path / "large")
    size = (tmp_path / "large").stat().st_size
    assert size > 1_000_000
    tracemalloc.start()
    try:
        gradopt.load(tmp_path / "large")
        assert tracemalloc.get_traced_memory()[1] < 4 * size
    finally:
        tracemalloc.stop()
