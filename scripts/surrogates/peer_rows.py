"""One fit on one problem, measured under a time limit, as one row; for `surrogates.accuracy_vs_peers`."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from gradopt import Dataset
from scripts.shared.benchmark_problems import Problem
from scripts.shared.peer_methods import Method, Setting
from scripts.shared.rows import Row


def errors(test: Dataset, values: np.ndarray, partials: np.ndarray) -> dict[str, float]:
    """Measure predictions against a test set.

    Args:
        test: Points x (n, d) with true values and partials.
        values: Predicted values (n, 1).
        partials: Predicted partials (n, 1, d).

    Returns:
        `nrmse_values`: RMSE of the values over the standard deviation of the true ones; `nrmse_partials`: the same of
        all partials pooled, each times the standard deviation of its input over the test points.
    """
    wrong, true = ((p * test.x.std(axis=0))[:, 0] for p in (partials - test.partials, test.partials))
    return {
        "nrmse_values": float(np.sqrt(np.mean((values - test.y) ** 2) / test.y.var())),
        "nrmse_partials": float(np.sqrt(np.mean(wrong**2) / true.var(axis=0).mean())),
    }


def measure(problem: Problem, n: int, seed: int, method: Method, setting: Setting) -> Row:
    """Fit once and measure; a peer that cannot fit is an outcome, in `status` and `reason`.

    Args:
        problem: Problem to fit.
        n: Number of training points.
        seed: Seed of the points and of the method.
        method: Method that fits.
        setting: Setting of the method.

    Returns:
        `status` "ok" with errors, CPU seconds of the fit and of the values at the test points, and the kinds of
        warnings; or "failed" with a reason.
    """
    data, test = problem.sample(n, seed), problem.test()
    with warnings.catch_warnings(record=True) as caught:  # peers warn: they go into the row
        warnings.simplefilter("always")
        try:
            start = time.process_time()
            values, partials = method.fit(data, seed, setting)
            fitted = time.process_time()
            predicted = values(test.x)
            end = time.process_time()
            found = errors(test, predicted, partials(test.x))
        except Exception as failure:
            return {"status": "failed", "reason": f"{type(failure).__name__}: {failure}"[:200]}
    about = {"fit_seconds": fitted - start, "predict_seconds": end - fitted}
    kinds = {"warnings": sorted({entry.category.__name__ for entry in caught})}
    if not np.isfinite(list(found.values())).all():
        return {"status": "failed", "reason": "not finite", **about, **kinds}
    return {"status": "ok", **found, **about, **kinds}


def limited(call: Callable[[], Row], limit: float) -> Row:
    """Make a call in a forked process, which is killed when it takes twice a limit of CPU seconds; POSIX only.

    CPU seconds do not depend on other processes of the machine. A call that sleeps is killed after thirty limits of
    wall-clock time.

    Args:
        call: Function that returns a row.
        limit: CPU seconds of the fit; as many again are for the predictions.

    Returns:
        That row, or one of status "time" (killed, or `fit_seconds` above the limit) or "failed" (the process crashed).
    """

    def run(pipe: Connection) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # peers print
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))
        torch.set_num_threads(1)  # a forked process has none of OpenMP's other threads and would wait for them
        pipe.send(call())

    most = math.ceil(2.0 * limit)
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(send,), daemon=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)  # of threads, which sleep
        process.start()
    send.close()
    try:
        if not receive.poll(30.0 * limit):
            return {"status": "time", "reason": f"killed after {30.0 * limit:g} s of wall-clock time"}
        row: Row = receive.recv()
        slow = row.get("fit_seconds", 0.0) > limit
        return {**row, "status": "time", "reason": "the fit was too slow"} if slow else row
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGXCPU:
            return {"status": "time", "reason": f"killed after {most} CPU seconds"}
        return {"status": "failed", "reason": f"the process ended with {process.exitcode}"}
    finally:
        process.kill()
        process.join()
        receive.close()


def key(row: Row) -> tuple[Any, ...]:
    """Return the key of a row."""
    return (row["problem"], row["size"], row["method"], row["seed"], json.dumps(row["setting"], sort_keys=True))


def penalized(row: Row, figure: str) -> float:
    """Return a figure of a row, infinite where the fit failed."""
    return float(row[figure]) if row["status"] == "ok" else np.inf


def best_setting(rows: Sequence[Row], problem: str, size: int, method: str) -> Setting:
    """Return the setting with the least product of both errors in the rows of seed 0."""
    of = [r for r in rows if (r["problem"], r["size"], r["method"], r["seed"]) == (problem, size, method, 0)]
    return min(of, key=lambda r: penalized(r, "nrmse_values") * penalized(r, "nrmse_partials"))["setting"]


def given_up(rows: Sequence[Row], row: Row) -> str | None:
    """Return why a fit is not tried: two or more fits with other seeds passed the limit, and all did; or None."""
    kind = ("problem", "size", "method", "setting")
    before = [other["status"] for other in rows if all(other[field] == row[field] for field in kind)]
    hopeless = len(before) >= 2 and set(before) == {"time"}
    return f"not tried: all {len(before)} fits before passed the limit" if hopeless else None
