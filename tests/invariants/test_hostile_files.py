"""Files with a right checksum and hostile content: `FileFormatError` and nothing else, in little memory.

A file is taken apart, changed at one place or a few, and written again with a checksum that fits. It is then refused,
or it holds an object that works: predictions are finite or fail by name, a run asks for its next points.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import gradopt
from gradopt import JENN, Dataset, GradINN, Optimizer, Variable
from gradopt.errors import FileFormatError, GradoptError
from gradopt.loop.files import load_state, save_state
from gradopt.optimizer import Constraint
from gradopt.surrogates.fitted import container

Parts = tuple[dict[str, str], Any, dict[str, np.ndarray]]

DEEP: Any = 1
for _ in range(70):
    DEEP = [DEEP]
DEEPER: Any = 1
for _ in range(400):
    DEEPER = {"a": DEEPER}

POOL: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 0.5, -0.5, 1e308, -1e308, 5e-324, 10**9, -(10**9), 10**30, 10**400),
    *("", "x", "²", "%", "m)", "é", "m**", "9**9**9", "1/0", "nan", "a0", "a1", "theta.0", "\ud800", "x" * 10_000),
    *([], {}, [None], ["x"], [1, 2, 3], [[1.0]], [10**9], [10**9, 10**9], [1] * 100, [0.5] * 3, DEEP, DEEPER),
    *({"array": "a0"}, {"array": "a3"}, {"float": "nan"}, {"float": "inf"}, {"float": "-inf"}, {"mapping": {}}),
    *({"class": "State", "fields": {}}, {"enum": "Exit", "value": "budget"}, {"surrogate": "a0"}, {"kind": "JENN"}),
)
VERSIONS = ("²", "", "0", "-1", "01", "1e1", "٣", " 1", "1 ", "9" * 5000, "None", "1.0", "99")


def taken_apart(path: Path) -> Parts:
    with safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return metadata, json.loads(metadata["header"]), arrays


def put_together(path: Path, parts: Parts) -> None:
    metadata, header, arrays = parts
    text = header if isinstance(header, str) else json.dumps(header)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    checksum = container._checksum(text, contiguous)
    save_file(contiguous, path, {**metadata, "header": text, "checksum": checksum})


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Containers and keys of all JSON values."""
    for key, entry in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(entry, dict | list):
            yield from places(entry)


def mutate_header(header: Any, rng: np.random.Generator) -> None:
    every = list(places(header))
    if not every:
        return
    holder, key = every[rng.integers(len(every))]
    other, its = every[rng.integers(len(every))]
    match int(rng.integers(8)):
        case 0 | 1 | 2:
            holder[key] = copy.deepcopy(POOL[rng.integers(len(POOL))])
        case 3:
            del holder[key]
        case 4 if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        case 5 if isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        case 6 if isinstance(holder[key], int | float):
            holder[key] *= [-1, 10**6, 1e-6, 2, np.pi][rng.integers(5)]
        case _:
            holder[key] = copy.deepcopy(other[its])


def mutate_arrays(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    names = sorted(arrays)
    if not names:
        return
    name, other = names[rng.integers(len(names))], names[rng.integers(len(names))]
    array = arrays[name].copy()
    flat = array.reshape(-1)
    at = int(rng.integers(flat.size)) if flat.size else None
    match int(rng.integers(12)):
        case 0:
            del arrays[name]
            return
        case 1 | 2 if at is not None and array.dtype == np.float64:
            flat[at] = [np.nan, np.inf, -np.inf, 1e308, -1.0, 0.0, 5e-324][rng.integers(7)]
        case 3 if at is not None and array.dtype == np.uint8:
            flat[at] ^= 1 << rng.integers(8)
        case 4:
            array = array[:-1] if array.ndim else array
        case 5:
            array = np.concatenate([flat, flat])
        case 6:
            array = array[None] if rng.integers(2) else array.T
        case 7:
            with np.errstate(invalid="ignore", over="ignore"):
                array = array.astype([np.float32, np.float16, np.int64, np.uint8, bool][rng.integers(5)])
        case 8:
            array = np.zeros([(0,), (0, 10**9), (10**9, 0), (), (1,), (0, 3)][rng.integers(6)], dtype=array.dtype)
        case 9:
            arrays[f"{name}0"] = arrays.pop(name)
            return
        case 10 if array.dtype == np.float64:
            with np.errstate(over="ignore"):
                array = array * [1e200, 1e-200, -1.0, 0.0][rng.integers(4)]
        case _:
            array = arrays[other]
    arrays[name] = array


def mutated(parts: Parts, rng: np.random.Generator) -> Parts:
    metadata, header, arrays = dict(parts[0]), copy.deepcopy(parts[1]), dict(parts[2])
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.integers(20)
        if kind == 0:
            metadata["schema_version"] = VERSIONS[rng.integers(len(VERSIONS))]
        elif kind == 1:
            text = json.dumps(header)
            cut = int(rng.integers(len(text)))
            return metadata, text[:cut] + '[{}]9,"x\x00'[rng.integers(9)] + text[cut + int(rng.integers(2)) :], arrays
        elif kind < 8:
            mutate_arrays(arrays, rng)
        else:
            mutate_header(header, rng)
    return metadata, header, arrays


# ---- the three kinds of files ----


def bowl(n: int = 8) -> Dataset:
    variables = [Variable("a", units="m", lower=0.0, upper=1.0), Variable("b", transform="log")], [Variable("f")]
    x = np.random.default_rng(2).uniform(0.1, 0.9, (n, 2))
    return Dataset(x, (x**2).sum(axis=1, keepdims=True), 2.0 * x[:, None, :], *variables)


def use_surrogate(path: Path) -> None:
    surrogate = gradopt.load(path)
    x = 0.5 * (surrogate.lower + surrogate.upper)[None]
    for call in (surrogate.linearize, surrogate.std, surrogate.std_partials):
        try:
            found = call(x)
        except GradoptError:
            continue
        assert all(np.isfinite(array).all() for array in (found if isinstance(found, tuple) else (found,)))
    str(surrogate.fit_result)
    surrogate.save(path)
    assert gradopt.load(path).digest == surrogate.digest


def use_state(path: Path) -> None:
    load_state(path)


def use_optimizer(path: Path) -> None:
    optimizer = Optimizer.load(path)
    optimizer.certificate, optimizer.y, optimizer.surrogate  # noqa: B018
    if not optimizer.done:
        try:
            request = optimizer.ask()
        except GradoptError:
            return
        assert request.points.shape[1:] == optimizer.x.shape


def made_optimizer(path: Path, count: int) -> Optimizer:
    optimizer = Optimizer(
        [Variable("x", (2,), lower=-1.0, upper=2.0, units="m")],
        [Variable("f"), Variable("sum")],
        [1.5, -0.5],
        constraints=[Constraint("sum", lower=0.5)],
        configuration=JENN((3,), starts=1, alpha=1e-6),
    )
    for _ in range(count):
        request = optimizer.ask()
        x = request.points
        y = np.stack([(x**4).sum(axis=1), x.sum(axis=1)], axis=1)
        optimizer.tell(request, (y, np.stack([4.0 * x**3, np.ones_like(x)], axis=1)))
    optimizer.save(path)
    return optimizer


USES: dict[str, Callable[[Path], None]] = {
    "JENN": use_surrogate,
    "GradINN": use_surrogate,
    "state": use_state,
    "optimizer": use_optimizer,
    "new optimizer": use_optimizer,
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Parts]:
    """One file of each kind, taken apart."""
    folder = tmp_path_factory.mktemp("files")
    JENN((3,), starts=2).fit(bowl()).save(folder / "JENN")
    GradINN((3,), starts=1, alpha=1e-4, weight=1.0).fit(bowl()).save(folder / "GradINN")
    save_state(folder / "state", made_optimizer(folder / "optimizer", 4).state)
    made_optimizer(folder / "new optimizer", 0)
    found = {name: taken_apart(folder / name) for name in USES}
    for name, use in USES.items():
        put_together(folder / "whole", found[name])
        use(folder / "whole")
    return found


def check_mutations(originals: dict[str, Parts], folder: Path, kind: str, seeds: range) -> int:
    """Use mutated files; return how many were refused."""
    refused = 0
    for seed in seeds:
        parts = mutated(originals[kind], np.random.default_rng(seed))
        path = folder / "mutated"
        try:
            put_together(path, parts)
        except UnicodeEncodeError:  # no safetensors file can hold it
            continue
        try:
            USES[kind](path)
        except FileFormatError:
            refused += 1
        except Exception as other:
            other.add_note(f"{kind}, seed {seed}")
            raise
    return refused


@pytest.mark.parametrize("kind", USES)
def test_mutated_files_are_refused_or_work(originals: dict[str, Parts], tmp_path: Path, kind: str) -> None:
    assert check_mutations(originals, tmp_path, kind, range(80)) > 40


# No surrogate in its place, no selection, an infinite constraint, a kernel length of nearly 0.
@pytest.mark.parametrize("seed", [1084, 1359, 1608, 1884])
def test_mutations_that_once_got_further_are_refused(originals: dict[str, Parts], tmp_path: Path, seed: int) -> None:
    assert check_mutations(originals, tmp_path, "optimizer", range(seed, seed + 1)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("kind", USES)
def test_ten_thousand_mutated_files_are_refused_or_work(
    originals: dict[str, Parts], tmp_path: Path, kind: str, part: int
) -> None:
    first = 1000 + 200 * part
    assert check_mutations(originals, tmp_path, kind, range(first, first + 200)) > 100
