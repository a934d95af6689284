"""A truth that runs a program: input files, a run, output files."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.variables import Variable, total_size, unflatten
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.truth.function import as_sides, evaluate_function
from gradopt.truth.identity import attempt, identify_command
from gradopt.truth.program import Finished, Program, check_files
from gradopt.truth.protocol import Evaluations

Files = Mapping[str, str]
"""Texts of files by name."""


@dataclass(frozen=True)
class CommandTruth:
    r"""A program as a truth: each point is a run in a new folder, without a shell.

    A point fails where the run exceeds a limit of `Program`, or its files cannot be read. A return code alone makes no
    failure: some programs crash after they have written their results.

    Example:
        A program `beam` that reads `beam.in` and writes `beam.out`, of which the last line is the deflection::

            def deflection(run: go.truth.Finished) -> float:
                return float(run.read("beam.out").split()[-1])

            truth = go.CommandTruth(
                go.truth.Program(["beam", "beam.in"], timeout=600.0),
                template={"beam.in": "length {length}\nforces {force[0]:.12g} {force[1]:.12g}\n"},
                parse=deflection,
                inputs=[go.Variable("length", units="m"), go.Variable("force", (2,), "N")],
                outputs=[go.Variable("deflection", units="m")],
                identity="beam 2.1",
            )

    Attributes:
        program: Program to run, or its command as a list of strings.
        template: Texts of the input files by name. Each {name} of an input is replaced by its value: a number with all
            digits, or {name:.6f}; entries of an array are {name[0]}, with two indices {name[0][1]}. A brace is {{.
            Or a function of x (d,) that returns the texts, or a list of several such mappings: the program then runs on
            one after the other until a run succeeds, such as with other starting points of a solver.
        parse: Function of a `Finished` that returns y (m,), or a number if m = 1; or the pair y, dydx (m, d), NaN where
            unknown. An exception makes a failed run, as broken files lead to any (ValueError, KeyError, AttributeError
            of a missing match), except for names and modules that do not exist, see `Program.run`.
        inputs: Variables of the columns of x.
        outputs: Variables of the columns of y.
        identity: Words for what is computed, for a store on disk: the program, its version and its settings. By default
            a hash of the command, of the executable and of the files that it names by absolute paths, of `template` and
            of `parse`; see `FunctionTruth`. None where `unidentified` names a part.

    Raises:
        InputError: If an argument is of another kind, or `template` does not have exactly the names of the inputs.
    """

    program: Program | Sequence[str]
    template: Files | Callable[[np.ndarray], Files | Sequence[Files]]
    parse: Callable[[Finished], Any]
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    identity: str | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        if not isinstance(self.program, Program):
            object.__setattr__(self, "program", Program(self.program))
        for name, variables in as_sides(self.inputs, self.outputs).items():
            object.__setattr__(self, name, variables)
        if not callable(self.parse):
            remedy = "Pass the function that reads the files, not what it returns."
            raise InputError(explain("parse", "be a function of a Finished", repr(self.parse), remedy))
        if isinstance(self.template, Mapping):
            object.__setattr__(self, "template", dict(self.template))
            self._check_template()
        elif not callable(self.template):
            remedy = "Such as {'beam.in': 'length {length}'}, or a function x -> such a mapping."
            raise InputError(explain("template", "map names of files to texts", repr(self.template), remedy))
        if self.identity is None:
            object.__setattr__(self, "identity", attempt(self._own_identity)[0])

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Run the program at points, one after the other.

        Args:
            x: Points (n, d), physical.

        Returns:
            Evaluations with one row for each point, failed points included.

        Raises:
            InputError: If `x` is not finite, the program is not installed or cannot be executed, `template` returned
                other things than texts of files by name, or `parse` returned other things than real numbers.
            ShapeError: If `x` is not (n, d), or `parse` returned other shapes than (m,) and (m, d).
        """
        return evaluate_function("parse(finished)", self._run, x, self.inputs, self.outputs, (EvaluationError,))

    def files(self, x: np.ndarray) -> tuple[Files, ...]:
        """Return the texts of the input files at x (d,), one mapping for each run to try."""
        if not isinstance(self.template, Mapping):
            made = self.template(x)
            several = (made,) if isinstance(made, Mapping) else made
            found = tuple(several) if isinstance(several, Iterable) else ()
            if not found:
                remedy = "Such as {'beam.in': f'length {x[0]}'}."
                raise InputError(explain("template(x)", "be a mapping, or a list of at least one", repr(made), remedy))
            return found
        arrays = unflatten(x, self.inputs)
        values = {name: float(value[0]) if value.shape == (1,) else _Numbers(value) for name, value in arrays.items()}
        return ({name: text.format(**values) for name, text in self.template.items()},)

    def _run(self, x: np.ndarray) -> Any:
        assert isinstance(self.program, Program)
        *others, last = self.files(x)
        for files in others:
            try:
                return self.program.run(files, self.parse)
            except EvaluationError:
                continue
        return self.program.run(last, self.parse)

    def _check_template(self) -> None:
        assert isinstance(self.template, Mapping)
        names = {variable.name for variable in self.inputs}
        used: set[str] = set()
        for file, text in self.template.items():
            if not isinstance(file, str) or not isinstance(text, str):
                remedy = "Such as {'beam.in': 'length {length}'}."
                raise InputError(explain("template", "map names of files to texts", f"{file!r}: {text!r}", remedy))
            try:
                fields = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
            except ValueError as broken:
                remedy = "Write a literal brace twice: {{ or }}."
                raise InputError(
                    explain(f"template[{file!r}]", "be a format string", f"{shortened(text)} ({broken})", remedy)
                ) from broken
            used |= {re.split(r"[.\[]", name)[0] for name in fields}
        if used - names:
            remedy = f"The inputs are {sorted(names)}. Write a literal brace twice: {{{{ or }}}}."
            raise InputError(explain("template", "name inputs alone", f"{{{sorted(used - names)[0]}}}", remedy))
        if names - used:
            remedy = f"Write {{{sorted(names - used)[0]}}} where its value belongs."
            raise InputError(explain("template", "name every input", f"none of {sorted(names - used)}", remedy))
        try:
            (files,) = self.files(np.zeros(total_size(self.inputs)))
        except (LookupError, ValueError, TypeError, AttributeError) as broken:
            remedy = "Write a number as {name} or {name:.6f}, an entry of an array as {name[0]}."
            raise InputError(
                explain("template", "be format strings of the inputs", f"{shortened(self.template)} ({broken})", remedy)
            ) from broken
        check_files(files)

    @property
    def unidentified(self) -> str:
        """Part that cannot be identified, "" where there is none."""
        return attempt(self._own_identity)[1]

    def _own_identity(self) -> str:
        assert isinstance(self.program, Program)
        files = self.template if callable(self.template) else dict(sorted(self.template.items()))
        environment = dict(sorted(self.program.environment.items()))
        return identify_command(self.program.command, (files, self.program.stdin, environment), self.parse)


class _Numbers:
    """An array in a template: its entries format as plain numbers; the whole array cannot be formatted."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __getitem__(self, index: int) -> Any:
        entry = self._values[index]
        return _Numbers(entry) if isinstance(entry, np.ndarray) else float(entry)

    def __format__(self, spec: str) -> str:
        raise TypeError(f"an array of shape {self._values.shape} has to be written entry by entry")
