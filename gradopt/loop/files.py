"""Files of runs: a state whole, versioned, without pickle."""

from __future__ import annotations

from pathlib import Path

from gradopt.corrected.correction import CorrectedSurrogate, Correction, CorrectionTerms, ResidualKriging
from gradopt.corrected.kriging import Kriging
from gradopt.corrected.samples import Samples
from gradopt.corrected.selection import Selection, Variant
from gradopt.corrected.trend import Quadratic
from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling
from gradopt.data.variables import Variable
from gradopt.errors import FileFormatError
from gradopt.loop.checks import check_state
from gradopt.loop.packing import Classes, Packer, Unpacker
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, Iteration, Stage, State, TruthPoint
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.kkt import KKT
from gradopt.optimality.problem import Responses
from gradopt.surrogates.fitted import container
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.versions import versions

STATE = container.Kind("gradopt.state", 2, "save_state(path, state)")


def classes() -> Classes:
    """Return the classes that a state is made of, by name."""
    from gradopt.surrogates.fitting.incremental import IncrementalFit

    kinds = (
        State,
        TruthPoint,
        Responses,
        Iteration,
        TrustRegion,
        KKT,
        Exit,
        Stage,
        Samples,
        Dataset,
        Variable,
        IncrementalFit,
        Selection,
        Variant,
        CorrectedSurrogate,
        Correction,
        CorrectionTerms,
        Scaling,
        Kriging,
        ResidualKriging,
        Quadratic,
        Settings,
        FiniteDifferences,
    )
    return {kind.__name__: kind for kind in kinds}


def save_state(path: str | Path, state: State) -> None:
    """Write a state to a file: it appears whole or not at all.

    Args:
        path: File to write; an existing one is replaced.
        state: State.

    Raises:
        InputError: If an initial surrogate is not one of gradopt's, or the folder does not exist.
    """
    packer = Packer(classes())
    header = {"state": packer.pack(state), "versions": versions()}
    container.write(path, header, packer.arrays, STATE)


def load_state(path: str | Path) -> State:
    """Read a state that `save_state` wrote; nothing in the file is executed.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If the file is truncated, foreign, newer than this version, or was changed.
    """
    header, arrays, _ = container.read(path, STATE)
    found = Unpacker(classes(), arrays).unpack(header.get("state"))
    if not isinstance(found, State):
        raise FileFormatError(f"{str(path)!r} holds no state. Write it with `{STATE.written_by}`.")
    check_state(found)
    return found
