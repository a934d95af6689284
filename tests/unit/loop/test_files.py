"""A state saved and loaded at any request continues to the same points; nothing else passes for a state."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.errors import FileFormatError, InputError
from gradopt.loop.files import STATE, load_state, save_state
from gradopt.loop.request import Purpose
from gradopt.loop.state import Exit
from gradopt.surrogates.configurations.jenn import JENN, MLP
from gradopt.surrogates.fitted import container
from gradopt.truth.finite_differences import FiniteDifferences

Runs = Callable[..., Any]
SAMPLES = np.array([[0.5, 0.5], [-1.0, 0.25]])
STEPS = FiniteDifferences(1e-7)


def f(u: np.ndarray) -> np.ndarray:
    """Rosenbrock's function, values alone."""
    return np.array([100.0 * (u[1] - u[0] ** 2) ** 2 + (1.0 - u[0]) ** 2])


def thin(u: np.ndarray) -> bool:
    """A strip across the valley."""
    return bool(-0.7 < u[0] < -0.6)


@cache
def network() -> Any:
    """A network fitted to a few samples of the valley."""
    x = np.random.default_rng(0).uniform(-2.0, 2.0, (30, 2))
    variables = [Variable("u", shape=(2,), lower=-2.0, upper=2.0)], [Variable("f")]
    return MLP((6,), starts=1, alpha=1e-6).fit(Dataset(x, np.array([f(u) for u in x]), None, *variables))


def with_network(made: Any) -> Any:
    """The same run with the network as initial surrogate."""
    made.problem.components = (replace(made.problem.components[0], initial=network()),)
    return made


KINDS: dict[str, Callable[..., Any]] = {
    "constraint": lambda flat, disk, **more: disk(initial_samples=SAMPLES, **more),
    "failures": lambda flat, disk, **more: flat(fails=thin, start=[-1.2, 1.0], **more),
    "finite differences": lambda flat, disk, **more: flat(f, finite_differences=STEPS, max_evaluations=30, **more),
    "initial surrogate": lambda flat, disk, **more: with_network(
        flat(f, finite_differences=STEPS, max_evaluations=16, **more)
    ),
    "network": lambda flat, disk, **more: flat(configuration=JENN((3,), starts=1), max_evaluations=6, **more),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_saved_and_loaded_at_each_request_goes_through_the_same_points(
    flat: Runs, disk: Runs, points: Runs, same: Runs, tmp_path: Path, kind: str
) -> None:
    whole = KINDS[kind](flat, disk)
    end = whole.run()
    torn = KINDS[kind](flat, disk)
    while not torn.state.done:
        save_state(tmp_path / "state", torn.state)
        loaded = load_state(tmp_path / "state")
        assert kind in ("network", "initial surrogate") or same(loaded, torn.state)  # networks are other objects
        torn.loop.state = loaded
        torn.step()
    assert points(torn) == points(whole)
    assert (torn.state.exit, torn.state.evaluations) == (end.exit, end.evaluations)
    purposes = [request.purpose for request in whole.requests]
    expected = {
        "failures": Purpose.RECOVERY,
        "finite differences": Purpose.DIFFERENCE,
        "initial surrogate": Purpose.INITIAL_OPTIMUM,
    }
    assert expected.get(kind, Purpose.CANDIDATE) in purposes


@pytest.mark.parametrize("kind", ["constraint", "failures", "finite differences"])
def test_another_run_continues_from_a_file(flat: Runs, disk: Runs, points: Runs, tmp_path: Path, kind: str) -> None:
    first = KINDS[kind](flat, disk)
    for count in range(1, 8):
        first.step()
        save_state(tmp_path / f"{count}", first.state)
    first.run()
    assert len(first.evaluated) == first.state.evaluations
    for count in (1, 4, 7):
        second = KINDS[kind](flat, disk, state=load_state(tmp_path / f"{count}"))
        second.run()
        assert points(second) == points(first)[count:]
        assert second.state.evaluations == first.state.evaluations


def test_failures_that_are_pending_are_kept(flat: Runs, tmp_path: Path, same: Runs) -> None:
    made = flat(fails=lambda u: bool(np.abs(u - [1.25, -1.75]).max() > 1e-12))
    for _ in range(4):
        made.step()
    assert len(made.state.failed[0]) == 3
    save_state(tmp_path / "state", made.state)
    assert same(load_state(tmp_path / "state").failed, made.state.failed)


def test_a_state_that_has_ended_keeps_its_exit(flat: Runs, tmp_path: Path) -> None:
    made = flat(fails=lambda u: True)
    save_state(tmp_path / "state", made.run())
    found = load_state(tmp_path / "state")
    assert (found.exit, found.failure) == (Exit.TRUTH_FAILED, "no mesh")


def test_each_surrogate_is_kept_once(flat: Runs, disk: Runs, tmp_path: Path) -> None:
    made = KINDS["initial surrogate"](flat, disk)
    for _ in range(4):
        made.step()
    assert made.state.selections[0].based.corrected.surrogate is network()
    save_state(tmp_path / "state", made.state)
    network().save(tmp_path / "network")
    alone = (tmp_path / "network").stat().st_size
    replaced = replace(made.state, selections=(*made.state.selections, *made.state.selections))
    save_state(tmp_path / "twice", replaced)
    assert (tmp_path / "twice").stat().st_size < (tmp_path / "state").stat().st_size + alone


def test_an_initial_surrogate_of_another_program_has_no_file(flat: Runs, tmp_path: Path) -> None:
    made = flat(initial=lambda u: (f(u), np.zeros((1, 2))))
    for _ in range(2):
        made.step()
    expected = r"`state` must hold values that a file can keep, got Formula\. Only the network surrogates"
    with pytest.raises(InputError, match=expected):
        save_state(tmp_path / "state", made.state)
    assert not (tmp_path / "state").exists()


# ---- what is no state ----


def edited(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write a file again with another header and a checksum that fits."""
    header, arrays, _ = container.read(path, STATE)
    container.write(path, change(header), arrays, STATE)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    network().save(tmp_path / "network")
    with pytest.raises(FileFormatError, match=r"is a safetensors file of another program \(format 'gradopt.surrogate'"):
        load_state(tmp_path / "network")


@pytest.mark.parametrize("held", [3, None, [], {"mapping": {}}, {"class": "CorrectionTerms", "fields": {}}])
def test_a_file_that_holds_something_else_is_refused(flat: Runs, tmp_path: Path, held: Any) -> None:
    save_state(tmp_path / "state", flat().state)
    edited(tmp_path / "state", lambda header: {**header, "state": held})
    with pytest.raises(FileFormatError, match=r"holds no state\. Write it with `save_state|other fields for"):
        load_state(tmp_path / "state")


def test_a_file_without_a_state_is_refused(flat: Runs, tmp_path: Path) -> None:
    save_state(tmp_path / "state", flat().state)
    edited(tmp_path / "state", lambda header: {})
    with pytest.raises(FileFormatError, match=r"holds no state\. Write it with `save_state\(path, state\)`"):
        load_state(tmp_path / "state")


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "{", '"state"'])
def test_a_header_that_is_no_dictionary_is_refused(
    flat: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(json, "dumps", lambda *_, **__: text)
    container.write(tmp_path / "state", {}, {}, STATE)
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match="garbled"):
        load_state(tmp_path / "state")


def test_a_changed_file_is_refused(flat: Runs, tmp_path: Path) -> None:
    save_state(tmp_path / "state", flat().state)
    content = bytearray((tmp_path / "state").read_bytes())
    content[-1] ^= 1
    (tmp_path / "state").write_bytes(bytes(content))
    with pytest.raises(FileFormatError, match="was changed after it was written: its checksum does not match"):
        load_state(tmp_path / "state")


def test_the_header_is_plain_json(flat: Runs, tmp_path: Path) -> None:
    made = flat()
    for _ in range(3):
        made.step()
    save_state(tmp_path / "state", made.state)
    header, _, version = container.read(tmp_path / "state", STATE)
    assert version == STATE.version
    assert header["state"]["class"] == "State"
    json.dumps(header, allow_nan=False)
