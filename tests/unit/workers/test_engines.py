"""Engines by name: Dask, MPI and executorlib give the samples of this process; what dies costs one failed row.

All stay on this machine: Dask and executorlib listen on the loopback address, ranks of MPI share memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradopt
from gradopt.errors import WorkersError
from gradopt.truth import Evaluations, ParallelTruth
from tests.unit.workers.conftest import LIMIT, make_truth
from tests.unit.workers.test_parallel_truth import EXITS, HANGS, KILLED, points

ROOT = Path(__file__).parents[3]
ENDS_WORKER = 8
GIVEN = points(0, 0, 0, 0, 0)
MIXED = points(0, KILLED, 0, HANGS, 0)
AT_MOST = 120.0  # s, of what a test waits for; they take a tenth of that

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the truth."""
    return tmp_path_factory.mktemp("engines")


def check_same(found: Evaluations, folder: Path) -> None:
    """Points, values and partials are those of this process, to all bits; the processes are others."""
    alone = make_truth(folder)().evaluate(GIVEN)
    np.testing.assert_array_equal(found.x, GIVEN)
    np.testing.assert_array_equal(found.y[:, 0], alone.y[:, 0])
    np.testing.assert_array_equal(found.dydx, alone.dydx)
    assert os.getpid() not in found.y[:, 1] and os.getpid() not in found.y[:, 2]


def check_mixed(found: Evaluations) -> None:
    """An evaluation that dies and one that hangs have failed; the others have not."""
    assert found.ok.tolist() == [True, False, True, False, True]
    assert "was ended by SIGKILL" in found.message[1] and "its time limit of 1 s" in found.message[3]


def evaluated(executor: Executor, folder: Path, x: np.ndarray, limit: float = LIMIT) -> Evaluations:
    with ParallelTruth(make_truth(folder), executor, time_limit=limit) as truth:
        return truth.evaluate(x)


def environment(**more: str) -> dict[str, str]:
    """Environment of programs that import the package and the tests."""
    path = os.pathsep.join([str(Path(gradopt.__file__).parents[1]), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, **more}


# Dask


@contextmanager
def started(*command: str, says: str) -> Iterator[subprocess.Popen[str]]:
    """A program that runs, from when it has printed something, until the end of the block."""
    process = subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stderr is not None
    try:
        until = time.monotonic() + AT_MOST
        while says not in (line := process.stderr.readline()):
            assert line and time.monotonic() < until, f"{command} did not start"
        yield process
    finally:
        process.terminate()
        process.stderr.close()
        process.wait()


@pytest.fixture(scope="module")
def dask_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Client of a scheduler and two workers, each a program of its own."""
    distributed = pytest.importorskip("distributed", reason="Dask is missing: pip install 'gradopt[dask]'")
    file = tmp_path_factory.mktemp("dask") / "scheduler.json"
    place = ("--scheduler-file", str(file), "--dashboard-address", "127.0.0.1:0")
    listens, worker = ("--host", "127.0.0.1", "--port", "0"), ("--host", "127.0.0.1", "--nthreads", "1")
    with (
        started("dask", "scheduler", *place, *listens, says="Scheduler at"),
        started("dask", "worker", *place, *worker, says="Registered to"),
        started("dask", "worker", *place, *worker, says="Registered to"),
        distributed.Client(scheduler_file=str(file)) as client,
    ):
        yield client


def test_dask_gives_the_samples_of_this_process(dask_client: Any, home: Path) -> None:
    check_same(evaluated(dask_client.get_executor(), home, GIVEN), home)


def test_dask_loses_one_row_for_an_evaluation_that_dies(dask_client: Any, home: Path) -> None:
    check_mixed(evaluated(dask_client.get_executor(), home, MIXED))


def test_dask_evaluates_again_where_its_worker_dies(dask_client: Any, home: Path, tmp_path: Path) -> None:
    found = evaluated(dask_client.get_executor(), tmp_path, points(0, ENDS_WORKER, 0), limit=30.0)
    assert found.ok.all() and (tmp_path / "tried 1.1").exists()


# executorlib


@contextmanager
def executorlib_pool(workers: int) -> Iterator[Executor]:
    """An executor whose sockets are bound to the loopback address alone."""
    executorlib = pytest.importorskip("executorlib", reason="It is missing: pip install 'gradopt[executorlib]'")
    from executorlib.standalone.interactive.communication import SocketInterface

    def bind(self: Any) -> int:
        return int(self._socket.bind_to_random_port("tcp://127.0.0.1"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SocketInterface, "bind_to_random_port", bind)  # it would listen on all networks
        with executorlib.SingleNodeExecutor(
            max_workers=workers, block_allocation=True, hostname_localhost=True
        ) as executor:
            yield executor


@pytest.fixture(scope="module")
def executorlib_two() -> Iterator[Executor]:
    """An executor with two workers."""
    with executorlib_pool(2) as executor:
        yield executor


def test_executorlib_gives_the_samples_of_this_process(executorlib_two: Executor, home: Path) -> None:
    check_same(evaluated(executorlib_two, home, GIVEN), home)


def test_executorlib_loses_one_row_for_an_evaluation_that_dies(executorlib_two: Executor, home: Path) -> None:
    check_mixed(evaluated(executorlib_two, home, MIXED))


def test_executorlib_whose_last_worker_died_is_broken(tmp_path: Path) -> None:
    with executorlib_pool(1) as executor, pytest.raises(WorkersError, match="broke .*ExecutorlibSocketError"):
        ParallelTruth(make_truth(tmp_path), executor, isolated=False).evaluate(points(EXITS))


# MPI

RANKS = """
import json, sys
from pathlib import Path

from mpi4py.futures import MPIPoolExecutor

import gradopt as go
from tests.unit.workers.conftest import LIMIT, make_truth


def model():
    import openmdao.api as om

    prob = om.Problem(reports=None)
    prob.model.add_subsystem("wave", om.ExecComp("f = sin(3*x)"), promotes=["*"])
    return prob


def model_truth():
    return go.ModelTruth(model, ["x"], ["f"])


def rows(found):
    return {name: getattr(found, name).tolist() for name in ("x", "y", "dydx")} | {
        "ok": found.ok.tolist(), "message": list(found.message)}


if __name__ == "__main__":  # ranks import the script
    given, mixed, folder, out = (json.loads(one) for one in sys.argv[1:])
    with MPIPoolExecutor() as executor:
        found = {"workers": executor.num_workers}
        truth = go.truth.ParallelTruth(make_truth(Path(folder)), executor, time_limit=LIMIT)
        found["given"], found["mixed"] = rows(truth.evaluate(given)), rows(truth.evaluate(mixed))
        ranks = go.truth.ParallelTruth(make_truth(Path(folder)), executor, isolated=False)
        found["on ranks"] = rows(ranks.evaluate(given))
        found["model"] = rows(go.truth.ParallelTruth(model_truth, executor).evaluate([[0.1]]))
    Path(out).write_text(json.dumps(found))
"""


@dataclass(frozen=True)
class Read:
    """Evaluations that a program wrote."""

    x: np.ndarray
    y: np.ndarray
    dydx: np.ndarray
    ok: np.ndarray
    message: list[str]


def mpiexec() -> str:
    """The program that starts ranks on this machine, of the package mpich: no rank or starter has a port."""
    pytest.importorskip("mpi4py", reason="It is missing: pip install 'gradopt[mpi]'")
    found = Path(sys.executable).with_name("mpiexec.gforker")
    if not found.exists():
        pytest.skip("The MPI of these tests is missing: pip install mpich")
    return str(found)


def run_on_ranks(ranks: int, script: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run a program by `mpi4py.futures`, of which rank 0 runs the script."""
    command = [mpiexec(), "-n", str(ranks), sys.executable, "-m", "mpi4py.futures", str(script)]
    command += [json.dumps(one) for one in arguments]
    one_machine = environment(OPENMDAO_USE_MPI="0", UCX_TLS="self,sm")
    return subprocess.run(command, env=one_machine, capture_output=True, text=True, timeout=AT_MOST, check=False)


@pytest.fixture(scope="module")
def ranks(home: Path) -> dict[str, Any]:
    """What the script found on three ranks, of which two evaluate."""
    script, out = home / "ranks.py", home / "ranks.json"
    script.write_text(RANKS)
    done = run_on_ranks(3, script, GIVEN.tolist(), MIXED.tolist(), str(home), str(out))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    for name in ("given", "mixed", "on ranks", "model"):
        arrays = {key: np.array(found[name].pop(key), dtype=float) for key in ("x", "y", "dydx")}
        found[name] = Read(**arrays, ok=np.array(found[name]["ok"]), message=found[name]["message"])
    return found


@pytest.mark.parametrize("where", ["given", "on ranks"])
def test_ranks_give_the_samples_of_this_process(ranks: dict[str, Any], home: Path, where: str) -> None:
    assert ranks["workers"] == 2
    check_same(ranks[where], home)


def test_ranks_lose_one_row_for_an_evaluation_that_dies(ranks: dict[str, Any]) -> None:
    check_mixed(ranks["mixed"])


def test_a_model_of_openmdao_is_evaluated_beside_ranks(ranks: dict[str, Any]) -> None:
    np.testing.assert_allclose(ranks["model"].y, [[np.sin(0.3)]])
    np.testing.assert_allclose(ranks["model"].dydx, [[[3.0 * np.cos(0.3)]]])


# libEnsemble, which calls the loop as a generator

ENSEMBLE = """
import json, sys
from pathlib import Path

import numpy as np
from gest_api.vocs import VOCS
from libensemble import Ensemble
from libensemble.alloc_funcs.start_only_persistent import only_persistent_gens
from libensemble.specs import AllocSpecs, ExitCriteria, GenSpecs, LibeSpecs, SimSpecs

import gradopt as go
from tests.unit.optimizer.conftest import valley

PARTIALS = ["df_da", "df_db", "dr2_da", "dr2_db"]
vocs = VOCS(
    variables={"a": [-2.0, 2.0], "b": [-2.0, 2.0]},
    objectives={"f": "MINIMIZE"}, constraints={"r2": ["LESS_THAN", 1.0]}, observables=PARTIALS,
)
generator = go.optimizer.Generator(vocs, {"a": 1.25, "b": -1.75}, configuration=None, initial_samples=5)


def evaluate(H, persis_info, sim_specs, info):
    out = np.zeros(len(H), dtype=sim_specs["out"])
    for row, point in zip(out, H):
        y, dydx = valley(np.array([point["a"], point["b"]]))
        row["f"], row["r2"] = y
        for name, value in zip(PARTIALS, dydx.ravel()):
            row[name] = value
    return out, persis_info


def allocate(W, H, sim_specs, gen_specs, alloc_specs, persis_info, info):
    if generator.done:
        return {}, persis_info, 1
    return only_persistent_gens(W, H, sim_specs, gen_specs, alloc_specs, persis_info, info)


if __name__ == "__main__":
    specs = LibeSpecs(comms="local", nworkers=2, gen_on_manager=True, disable_log_files=True)
    ensemble = Ensemble(libE_specs=specs)
    ensemble.gen_specs = GenSpecs(generator=generator, batch_size=4, vocs=vocs)
    ensemble.sim_specs = SimSpecs(sim_f=evaluate, vocs=vocs)
    ensemble.alloc_specs = AllocSpecs(alloc_f=allocate)
    ensemble.exit_criteria = ExitCriteria(sim_max=100)
    history, _, flag = ensemble.run()
    data = generator.optimizer.data
    Path(sys.argv[1]).write_text(json.dumps({
        "flag": flag, "exit": generator.optimizer.exit, "workers": sorted(set(history["sim_worker"].tolist())),
        "x": data.x.tolist(), "y": data.y.tolist(), "dydx": data.partials.tolist()}))
"""


def test_libensemble_makes_the_run_of_ask_and_tell(tmp_path: Path) -> None:
    pytest.importorskip("libensemble", reason="It is missing: pip install libensemble")
    from tests.unit.optimizer.conftest import INPUTS, OUTPUTS, valley

    (tmp_path / "ensemble.py").write_text(ENSEMBLE)
    command = [sys.executable, "ensemble.py", "found.json"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=AT_MOST, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    disk = [gradopt.optimizer.Constraint("r2", upper=1.0)]
    alone = gradopt.Optimizer(INPUTS, OUTPUTS, [1.25, -1.75], constraints=disk, configuration=None, initial_samples=5)
    alone.run(gradopt.FunctionTruth(valley, INPUTS, OUTPUTS))
    assert alone.data is not None
    assert found["flag"] == 0 and found["exit"] == "certified" and found["workers"] == [1, 2]
    for name, theirs in (("x", alone.data.x), ("y", alone.data.y), ("dydx", alone.data.partials)):
        np.testing.assert_array_equal(found[name], theirs)  # all bits
