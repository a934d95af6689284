"""Problems of the CUTEst collection with their first derivatives; for `loop.evaluations_vs_solvers`.

CUTEst is a collection of test problems for nonlinear optimization (Gould, Orban and Toint). The package `sif2jax` has
many of them in JAX. Its import takes minutes, so that the problems are exported once into a folder: value and Jacobian
as a compiled program of JAX, and sizes, start and bounds beside it. Measurements read that folder and need only JAX.

Problems with at most `LARGEST` design variables and `MOST` constraints are taken, of all kinds but nonlinear equations,
whose objective is constant. A problem whose values or partials at the start are not finite is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from gradopt.data.atomic import write_atomically

LARGEST, MOST = 50, 60  # design variables, constraints; by hand, what the loop is made for
SPLITS = ("develop", "report", "all")
INDEX, PARTIAL = "problems.json", "partial.json"  # the latter while problems are exported
REVERSED = frozenset(
    "CANTILVR CHACONN1 CHACONN2 CSFI1 CSFI2 DEMYMALO DIPIGRI HAIFAS HS101 HS102 HS103 HS64 MAKELA1 MAKELA2 MAKELA3 "
    "MAKELA4 MINMAXBD OPTPRLOC PENTAGON POLAK1 POLAK2 POLAK3 POLAK4 POLAK5 POLAK6 TENBARS1 ZECEVIC2 ZECEVIC3 "
    "ZECEVIC4".split()
)
"""Problems whose inequalities are c(x) <= 0, though `sif2jax` 0.0.8 says c(x) >= 0 of all.

It keeps the signs of the collection, which has both, and does not say where. The lowest values by SLSQP, IPOPT and Uno
tell: in these problems that of c(x) <= 0 is the one that the collection names, within 1e-3, and that of c(x) >= 0 is
not. ZECEVIC3 is named with the other sign. HAIFAS, MINMAXBD and OPTPRLOC name none, and c(x) >= 0 makes them unbounded
or infeasible. Where neither is the one named, as in problems with both signs, the problem is taken as it stands: it is
as good a test, if not the one of the collection.
"""
Function = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""x (n,) -> objective and constraints y (1 + m,) and their partials dydx (1 + m, n)."""


@dataclass(frozen=True, eq=False)
class DirectProblem:
    """min f(x) with lower <= x <= upper and c_lower <= c(x) <= c_upper, for solvers that evaluate the truth directly.

    Attributes:
        name: Name of the problem.
        function: Objective and constraints with all partials.
        start: Start (n,), within the bounds.
        lower: Lower bounds of x (n,), -inf where there is none.
        upper: Upper bounds of x (n,).
        c_lower: Lower bounds of the constraints (m,).
        c_upper: Upper bounds of the constraints (m,).
    """

    name: str
    function: Function
    start: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    c_lower: np.ndarray
    c_upper: np.ndarray

    @property
    def n(self) -> int:
        """Number of design variables."""
        return self.start.size

    @property
    def m(self) -> int:
        """Number of constraints."""
        return self.c_lower.size

    @property
    def bounded(self) -> bool:
        """Whether a design variable has a bound."""
        return bool(np.isfinite(self.lower).any() or np.isfinite(self.upper).any())

    def violation(self, x: np.ndarray, y: np.ndarray) -> float:
        """Return the largest violation of a bound or constraint at x (n,) with y (1 + m,), over max(1, |bound|)."""
        value = np.concatenate([x, y[1:]])
        largest = 0.0
        for bound, sign in ((np.append(self.lower, self.c_lower), 1.0), (np.append(self.upper, self.c_upper), -1.0)):
            finite = np.isfinite(bound)
            beyond = sign * (bound[finite] - value[finite]) / np.maximum(1.0, np.abs(bound[finite]))
            largest = max(largest, float(beyond.max(initial=0.0)))
        return largest


def split_of(name: str) -> str:
    """Return the part of a problem: "develop" for about a third, where settings are chosen, "report" for the others.

    The part is a fixed function of the name: the remainder by 3 of the first byte of its SHA-256.
    """
    return "develop" if sha256(name.encode()).digest()[0] % 3 == 0 else "report"


def export(folder: Path) -> Iterator[str]:
    """Export the problems of `sif2jax` into a folder; an export that was stopped continues.

    Yields:
        One line about each problem.
    """
    import jax
    import jax.flatten_util
    import jax.numpy as jnp
    import sif2jax

    jax.config.update("jax_enable_x64", True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PARTIAL
    index: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for problem in sif2jax.problems:
        name = problem.name
        if (
            name in index
            or isinstance(problem, sif2jax.AbstractNonlinearEquations)
            or problem.num_variables() > LARGEST
        ):
            continue
        try:
            index[name] = _export(problem, folder / name, jax, jnp)
        except Exception as wrong:
            index[name] = {"skipped": f"{type(wrong).__name__}: {wrong}"[:200]}
        write_atomically(path, json.dumps(index, indent=1).encode())
        yield f"{name}: {index[name].get('skipped') or 'n = {n}, m = {m}'.format(**index[name])}"
    path.rename(folder / INDEX)


def _export(problem: Any, path: Path, jax: Any, jnp: Any) -> dict[str, Any]:
    flat, unflatten = jax.flatten_util.ravel_pytree(problem.y0)
    flat = flat.astype(jnp.float64)
    constrained = hasattr(problem, "constraint")

    def ravel(tree: Any) -> Any:
        return jnp.zeros(0) if tree is None else jax.flatten_util.ravel_pytree(tree)[0]

    def values(x: Any) -> Any:
        at = unflatten(x)
        parts = [jnp.reshape(problem.objective(at, problem.args), (1,))]
        if constrained:
            parts += [ravel(part) for part in problem.constraint(at)]
        y = jnp.concatenate(parts).astype(jnp.float64)
        return y, y

    def both(x: Any) -> Any:
        dydx, y = jax.jacrev(values, has_aux=True)(x)
        return y, dydx

    equal = ravel(problem.constraint(problem.y0)[0]).size if constrained else 0
    start = np.asarray(flat, dtype=float)
    bounds = getattr(problem, "bounds", None)
    sides = [np.full(start.size, -np.inf), np.full(start.size, np.inf)]
    if bounds is not None:
        sides = [np.broadcast_to(np.asarray(ravel(side), dtype=float), start.shape) for side in bounds]
    clipped = np.clip(start, *sides)
    program = jax.jit(both)
    y, dydx = (np.asarray(part) for part in program(clipped))
    m = y.size - 1
    if m > MOST:
        raise ValueError(f"{m} constraints")
    if not (np.isfinite(y).all() and np.isfinite(dydx).all()):
        raise ValueError("not finite at the start")
    path.with_suffix(".jax").write_bytes(
        jax.export.export(program)(jax.ShapeDtypeStruct(start.shape, "float64")).serialize()
    )
    upper = [0.0] * equal + [None] * (m - equal)
    finite = [[float(bound) if np.isfinite(bound) else None for bound in side] for side in sides]
    return {
        "n": start.size,
        "m": m,
        "start": clipped.tolist(),
        "bounds": finite,
        "c_upper": upper,
        "split": split_of(problem.name),
        "expected": _expected(problem),
    }


def _expected(problem: Any) -> float | None:
    """Return the lowest value that the collection names, if it does."""
    try:
        return float(problem.expected_objective_value)
    except (NotImplementedError, TypeError):
        return None


def names(folder: Path, split: str = "all") -> list[str]:
    """Return the names of the exported problems of a part, sorted."""
    index = json.loads((folder / INDEX).read_text())
    return sorted(n for n, of in index.items() if "skipped" not in of and split in ("all", of["split"]))


def expected_values(folder: Path) -> dict[str, float]:
    """Return the lowest values that the collection names, by problem."""
    index = json.loads((folder / INDEX).read_text())
    return {name: of["expected"] for name, of in index.items() if of.get("expected") is not None}


def load(folder: Path, name: str) -> DirectProblem:
    """Read an exported problem."""
    import jax

    jax.clear_caches()  # of the problems before, which take gigabytes
    jax.config.update("jax_enable_x64", True)
    of = json.loads((folder / INDEX).read_text())[name]
    program = jax.jit(jax.export.deserialize(bytearray((folder / name).with_suffix(".jax").read_bytes())).call)

    def function(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, dydx = program(np.array(x, dtype=float))
        return np.array(y), np.array(dydx)

    lower, upper = (
        np.array([without if bound is None else bound for bound in side], dtype=float)
        for side, without in zip(of["bounds"], (-np.inf, np.inf), strict=True)
    )
    equal = np.array([bound is not None for bound in of["c_upper"]], dtype=bool)
    c_lower, c_upper = np.zeros(of["m"]), np.where(equal, 0.0, np.inf)
    if name in REVERSED:
        c_lower, c_upper = np.where(equal, 0.0, -np.inf), np.zeros(of["m"])
    return DirectProblem(name, function, np.array(of["start"]), lower, upper, c_lower, c_upper)
