"""Files that are not stores are refused and stay unchanged; processes share a file and may be killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gradopt
from gradopt import Variable
from gradopt.errors import FileFormatError, InputError, StoreError
from gradopt.truth import tables
from gradopt.truth.function import FunctionTruth
from gradopt.truth.store import EvaluationStore

TRUTH = FunctionTruth(lambda x: x[0] ** 2, (Variable("u"),), (Variable("v"),), identity="square")


def execute(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def stored(path: Path) -> Path:
    with EvaluationStore(path) as store:
        store.evaluate(TRUTH, [[1.0], [2.0]])
    return path


def text(path: Path) -> None:
    path.write_text("a text, long enough to be no empty file " * 40)


def foreign(path: Path) -> None:
    execute(path, "CREATE TABLE cases (id INTEGER)", "INSERT INTO cases VALUES (3)")


def alike(path: Path) -> None:
    execute(path, "CREATE TABLE meta (key TEXT, value TEXT)", "CREATE TABLE evaluations (id INTEGER)")


def newer(path: Path) -> None:
    execute(stored(path), "UPDATE meta SET value = '3' WHERE key = 'schema_version'")


def older(path: Path) -> None:
    execute(stored(path), "UPDATE meta SET value = '1' WHERE key = 'schema_version'")


def odd(path: Path) -> None:
    execute(stored(path), "UPDATE meta SET value = 'two' WHERE key = 'schema_version'")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (text, "is not an SQLite file, or a damaged one .* or of a new one"),
        (foreign, r"is an SQLite file of another program \(tables \['cases'\], format None\)"),
        (alike, r"is an SQLite file of another program .*format None\)"),
        (newer, "has schema version '3', this gradopt reads version 2. .*newer.*pip install -U gradopt"),
        (older, "has schema version '1', this gradopt reads version 2. .*older.*Evaluate into a new file"),
        (odd, "has schema version 'two'"),
    ],
)
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "file"
    make(path)
    before = path.read_bytes()
    with pytest.raises(FileFormatError, match=message):
        EvaluationStore(path)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/store", r"`path` must lie in an existing folder, got .*mkdir\(parents=True\)"),
        ("", "`path` must be a file that SQLite can open and write, got .*local disk"),
        ("x" * 300, "`path` must be a file that SQLite can open and write"),
    ],
)
def test_a_path_that_cannot_be_opened_is_explained(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        EvaluationStore(tmp_path / name)


def test_a_file_that_another_program_keeps_locked_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(tmp_path / "file")
    monkeypatch.setattr(tables, "_WAIT", 0.01)
    database = sqlite3.connect(tmp_path / "file")
    database.execute("BEGIN EXCLUSIVE")
    with pytest.raises(InputError, match=r"`path` must be a file that SQLite can open and write, .*database is locked"):
        EvaluationStore(tmp_path / "file")
    database.close()


def test_readers_do_not_wait_and_a_row_waits_for_the_disk_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, said = [100.0], list[str]()
    monkeypatch.setattr(tables, "monotonic", lambda: seconds[0])
    opened = tables.Tables(tmp_path / "file")
    assert opened._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    opened._database.set_trace_callback(lambda statement: said.append(statement.split(" (")[0]))
    opened.register("truth", "square", "[]")
    for passed, written in ((0.0, 1.0), (0.9, 2.0), (0.2, 3.0), (0.3, 4.0)):
        seconds[0] += passed
        said.clear()
        opened.insert("truth", [(TRUTH.evaluate([[written]]), False)], "{}")
        waits = written in (1.0, 3.0)  # at 100 s and 101.1 s
        full, normal = ([f"PRAGMA synchronous = {level}"] * waits for level in ("FULL", "NORMAL"))
        assert said == [*full, "INSERT INTO evaluations", *normal]
        assert opened._database.execute("PRAGMA synchronous").fetchone() == (1,)  # NORMAL
    opened.close()


def test_rows_of_one_call_are_written_all_or_none(tmp_path: Path) -> None:
    opened = tables.Tables(tmp_path / "file")
    opened.register("truth", "square", "[]")
    rows = [(TRUTH.evaluate([[number]]), False) for number in (1.0, 2.0, 3.0)]
    opened._database.execute(
        "CREATE TRIGGER full BEFORE INSERT ON evaluations WHEN (SELECT COUNT(*) FROM evaluations) = 2 "
        "BEGIN SELECT RAISE(ABORT, 'no room'); END"
    )
    with pytest.raises(sqlite3.Error, match="no room"):
        opened.insert("truth", rows, "{}")
    assert opened.count("truth") == 0 and not opened._database.in_transaction
    assert opened._database.execute("PRAGMA synchronous").fetchone() == (1,)  # NORMAL
    opened._database.execute("DROP TRIGGER full")
    assert opened.insert("truth", rows, "{}") and opened.rows("truth", 1, 1).y.tolist() == [[1.0], [4.0], [9.0]]
    opened.close()


def test_a_look_up_and_a_check_read_few_rows_of_many(tmp_path: Path) -> None:
    x = np.arange(3000.0)[:, None]
    with EvaluationStore(tmp_path / "store") as store:
        store.add(TRUTH, TRUTH.evaluate(x))
    with EvaluationStore(tmp_path / "store") as store:
        read, database = list[int](), store._open_tables._database
        database.row_factory = lambda cursor, row: read.append(len(row)) or row  # type: ignore[func-returns-value]
        assert store.evaluate(TRUTH, x[2500:2501]).y[0, 0] == 2500.0**2
        wide = sum(length == 11 for length in read)  # those with all columns
        assert wide == 1001 and store.verified == 1
        read.clear()
        store.evaluate(TRUTH, x[::500])
        assert len(read) == 6


def test_rows_of_a_call_that_could_not_be_written_are_all_in_the_error(tmp_path: Path) -> None:
    with EvaluationStore(stored(tmp_path / "store")) as store:
        database = store._open_tables._database
        database.execute("CREATE TRIGGER full BEFORE INSERT ON evaluations BEGIN SELECT RAISE(ABORT, 'no room'); END")
        with pytest.raises(StoreError, match="no room") as failed:
            store.add(TRUTH, TRUTH.evaluate([[3.0], [4.0]]))
        assert failed.value.evaluations.x[:, 0].tolist() == [3.0, 4.0]
        assert store.evaluations(TRUTH).x[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
        database.execute("DROP TRIGGER full")
    with EvaluationStore(tmp_path / "store") as store:
        assert store.evaluations(TRUTH).x[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    with EvaluationStore(stored(tmp_path / "store")) as store:
        assert store.count(TRUTH) == 2


@pytest.mark.parametrize(
    "change",
    ["y = x'00'", "dydx = zeroblob(16)", "x = zeroblob(16)", "status = 'fine'", "status = 'failed'", "y = zeroblob(0)"],
)
def test_a_changed_row_is_refused(tmp_path: Path, change: str) -> None:
    path = stored(tmp_path / "store")
    execute(path, f"UPDATE evaluations SET {change} WHERE id = 1")
    with EvaluationStore(path) as store, pytest.raises(FileFormatError, match="was changed after it was written"):
        store.evaluations(TRUTH)


WORKER = """
import sys, time, types
import numpy as np

package = types.ModuleType("gradopt")  # its own `__init__` takes seconds, it imports torch
package.__path__ = [HOME]
sys.modules["gradopt"] = package
from gradopt.data.variables import Variable
from gradopt.truth import tables
from gradopt.truth.function import FunctionTruth
from gradopt.truth.store import EvaluationStore

def f(x):
    time.sleep(PAUSE)
    return x[0] * np.arange(2000.0), x[0] + np.arange(2000.0)

truth = FunctionTruth(f, (Variable("u"),), (Variable("v", (2000,)),), identity="wide")
seed, path = int(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()  # all begin together, with making the file
with EvaluationStore(path) as store:
    for point in np.random.default_rng(seed).permutation(POINTS):
        store.evaluate(truth, [[float(point)]])
        print(point, flush=True)
"""
WIDE = FunctionTruth(lambda x: np.zeros(2000), (Variable("u"),), (Variable("v", (2000,)),), identity="wide")


def start(seed: int, path: Path, pause: float, points: int) -> subprocess.Popen[str]:
    """Start a process that waits for a line before it opens the store."""
    home = repr(str(Path(gradopt.__file__).parent))
    program = WORKER.replace("PAUSE", str(pause)).replace("POINTS", str(points)).replace("HOME", home)
    command = [sys.executable, "-c", program, str(seed), str(path)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=path.parent)


def read_line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout
    return worker.stdout.readline()


def check_whole(path: Path) -> np.ndarray:
    """Every row is as it was made; returns the points."""
    with EvaluationStore(path) as store:
        found = store.evaluations(WIDE)
    np.testing.assert_array_equal(found.y, found.x * np.arange(2000.0))
    np.testing.assert_array_equal(found.dydx[:, :, 0], found.x + np.arange(2000.0))
    return np.asarray(found.x[:, 0])


@pytest.mark.parametrize(("processes", "pause", "points"), [(3, 0.001, 30), (4, 0.0, 200)])
def test_processes_write_one_file_at_the_same_time(tmp_path: Path, processes: int, pause: float, points: int) -> None:
    """Each process evaluates all points, in an order of its own, and makes the file or opens it."""
    path = tmp_path / "store"
    workers = [start(seed, path, pause, points) for seed in range(processes)]
    assert [read_line(worker) for worker in workers] == ["ready\n"] * processes
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        output, _ = worker.communicate(timeout=60)
        assert worker.returncode == 0 and len(output.splitlines()) == points
    assert sorted(check_whole(path)) == list(range(points))
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


APPEND = """
import sys
import numpy as np
import gradopt as go

truth = go.FunctionTruth(lambda x: x @ x, (go.Variable("u", (2,)),), (go.Variable("v"),), identity="square")
number = int(sys.argv[1])
sys.stdin.readline()
for block in range(10):  # the file is opened and closed beside the others
    with go.EvaluationStore("store", verify_stored=False) as store:
        for row in range(25):
            store.evaluate(truth, [[number, 25 * block + row]])
        store.add(truth, truth.evaluate([[number, -1 - 2 * block], [number, -2 - 2 * block]]))
"""


def test_processes_that_open_and_close_one_file_lose_no_row_and_see_no_lock(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(gradopt.__file__).parents[1])}
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND, str(number)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment,
        )
        for number in range(4)
    ]
    for program in programs:
        assert program.stdin
        program.stdin.write("go\n")
        program.stdin.flush()
    told = [program.communicate(timeout=120)[1] for program in programs]
    assert told == [""] * 4 and [program.returncode for program in programs] == [0] * 4
    square = FunctionTruth(lambda x: x @ x, (Variable("u", (2,)),), (Variable("v"),), identity="square")
    with EvaluationStore(tmp_path / "store") as store:
        found = store.evaluations(square)
    assert sorted(map(tuple, found.x.tolist())) == [(float(n), float(row)) for n in range(4) for row in range(-20, 250)]
    np.testing.assert_array_equal(found.y[:, 0], (found.x**2).sum(axis=1))


def test_a_killed_process_loses_no_row_and_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "store"
    worker = start(0, path, 0.0, 100000)
    assert worker.stdin and worker.stdout
    assert read_line(worker) == "ready\n"
    worker.stdin.write("go\n")
    worker.stdin.close()
    reported = [read_line(worker) for _ in range(20)]
    time.sleep(0.05)
    os.kill(worker.pid, signal.SIGKILL)
    reported += worker.stdout.readlines()
    worker.stdout.close()
    assert worker.wait() == -signal.SIGKILL
    kept = {int(point) for point in check_whole(path)}
    finished = {int(line) for line in reported if line.endswith("\n")}
    assert finished <= kept and len(kept - finished) <= 1 and len(finished) >= 20
