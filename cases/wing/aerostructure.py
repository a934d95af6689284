"""OpenAeroStruct's coupled wing as a truth, and the algebra around it that stays exact.

The problem is that of OpenAeroStruct's documentation, aerostructural optimization with the tube model: the wing of
NASA's Common Research Model in cruise, its spar a tube of varying wall thickness.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import openmdao.api as om

from gradopt.data.variables import Variable
from gradopt.errors import InputError, explain, import_extra
from gradopt.om.component import SurrogateComp
from gradopt.truth.identity import identity_of
from gradopt.truth.model import ModelTruth
from gradopt.truth.protocol import Truth

TWIST, THICKNESS, ALPHA = (-10.0, 15.0), (0.01, 0.5), (-10.0, 10.0)  # degrees, m, degrees
POINT = "cruise"  # the name of the flight condition in the model

_OUTPUTS = {
    f"{POINT}.CL": "CL",
    f"{POINT}.CD": "CD",
    f"{POINT}.total_perf.S_ref_total": "S_ref_total",
    "wing.structural_mass": "structural_mass",
    f"{POINT}.wing_perf.vonmises": "vonmises",
    f"{POINT}.wing_perf.thickness_intersects": "thickness_intersects",
}
_WHOLE = {
    f"{POINT}.fuelburn": "fuelburn",
    f"{POINT}.L_equals_W": "L_equals_W",
    f"{POINT}.wing_perf.failure": "failure",
    f"{POINT}.wing_perf.thickness_intersects": "thickness_intersects",
}
_POSITIVE = ("CD", "structural_mass", "vonmises", "fuelburn")  # modelled through their logarithm
_UNITS = {
    "S_ref_total": "m**2",
    "structural_mass": "kg",
    "vonmises": "N/m**2",
    "thickness_intersects": "m",
    "fuelburn": "kg",
}


def flight() -> dict[str, tuple[float, str | None]]:
    """Return value and unit of the parameters: flight condition, engine, range and weight."""
    return {
        "v": (248.136, "m/s"),
        "Mach_number": (0.84, None),
        "re": (1.0e6, "1/m"),
        "rho": (0.38, "kg/m**3"),
        "speed_of_sound": (295.4, "m/s"),
        "CT": (9.80665 * 17.0e-6, "1/s"),
        "R": (11.165e6, "m"),
        "W0": (0.4 * 3e5, "kg"),
        "load_factor": (1.0, None),
    }


def wing_surface(panels: int, points: int) -> dict[str, Any]:
    """Describe the wing for OpenAeroStruct.

    Args:
        panels: Vortices, and beam elements, along one half of the span.
        points: Control points of twist, and of thickness, along one half of the span, from the tip to the root.

    Returns:
        The dictionary of a surface; the twist is that of the Common Research Model.

    Raises:
        MissingExtraError: If OpenAeroStruct is not installed.
    """
    generator = import_extra("openaerostruct.meshing.mesh_generator", "wing")
    shape = {"num_y": 2 * panels + 1, "num_x": 2, "wing_type": "CRM", "symmetry": True, "num_twist_cp": points}
    mesh, twist = generator.generate_mesh(shape)
    return {
        "name": "wing",
        "symmetry": True,
        "S_ref_type": "wetted",
        "mesh": mesh,
        "twist_cp": twist,
        "CL0": 0.0,
        "CD0": 0.015,
        "with_viscous": True,
        "with_wave": False,
        "k_lam": 0.05,
        "t_over_c_cp": np.array([0.15]),
        "c_max_t": 0.303,
        "fem_model_type": "tube",
        "thickness_cp": np.linspace(0.1, 0.3, points),
        "fem_origin": 0.35,
        "E": 70.0e9,
        "G": 30.0e9,
        "yield": 500.0e6,
        "safety_factor": 2.5,
        "mrho": 3.0e3,
        "wing_weight_ratio": 2.0,
        "struct_weight_relief": False,
        "distributed_fuel_weight": False,
        "exact_failure_constraint": False,
    }


def wing_problem(panels: int, points: int) -> om.Problem:
    """Build OpenAeroStruct's model of the wing; arguments as in `wing_surface`.

    Returns:
        A problem that is set up, with inputs twist_cp (points,), thickness_cp (points,) and alpha.
    """
    groups = import_extra("openaerostruct.integration.aerostruct_groups", "wing")
    surface = wing_surface(panels, points)
    given = om.IndepVarComp()
    for name, (value, units) in flight().items():
        given.add_output(name, val=value, units=units)
    given.add_output("alpha", val=5.0, units="deg")
    given.add_output("empty_cg", val=np.zeros(3), units="m")
    problem = om.Problem(reports=None)
    model = problem.model
    model.add_subsystem("given", given, promotes=["*"])
    model.add_subsystem(
        "wing", groups.AerostructGeometry(surface=surface), promotes_inputs=["twist_cp", "thickness_cp"]
    )
    inputs = [*flight(), "alpha", "empty_cg"]
    model.add_subsystem(POINT, groups.AerostructPoint(surfaces=[surface]), promotes_inputs=inputs)
    for name in ("mesh", "nodes", "local_stiff_transformed"):
        model.connect(f"wing.{name}", f"{POINT}.coupled.wing.{name}")
    for name in ("nodes", "radius", "thickness", "t_over_c"):
        model.connect(f"wing.{name}", f"{POINT}.wing_perf.{name}")
    for name in ("cg_location", "structural_mass"):
        model.connect(f"wing.{name}", f"{POINT}.total_perf.wing_{name}")
    problem.setup()
    problem.set_solver_print(level=-1)
    return problem


def design_variables(points: int) -> tuple[Variable, Variable, Variable]:
    """Return the inputs of the truth with their bounds; stresses go like a power of the thickness."""
    return (
        Variable("twist_cp", (points,), "deg", *TWIST),
        Variable("thickness_cp", (points,), "m", *THICKNESS, transform="log"),
        Variable("alpha", (1,), "deg", *ALPHA),
    )


def wing_truth(panels: int, points: int, whole: bool = False) -> ModelTruth:
    """Return the coupled wing as a truth: lift, drag, area, mass, stresses, and the room in the tube.

    Args:
        panels: See `wing_surface`.
        points: Likewise.
        whole: Whether its outputs are fuel, weight and failure instead, so that these are learned too.
    """
    stations = {"vonmises": (panels, 2), "thickness_intersects": (panels,)}
    outputs = [
        Variable(
            path.replace(".", ":"),
            stations.get(name, (1,)),
            _UNITS.get(name),
            transform="log" if name in _POSITIVE else None,
        )
        for path, name in (_WHOLE if whole else _OUTPUTS).items()
    ]
    version = import_extra("openaerostruct", "wing").__version__
    truth = ModelTruth(
        partial(wing_problem, panels, points),
        design_variables(points),
        outputs,
        identity=f"OpenAeroStruct {version}, {identity_of(wing_problem)}, {panels} panels, {points} control points",
    )
    with warnings.catch_warnings():
        # OpenMDAO warns once, where the model is built, that it does not split the coupled group for a driver. The
        # truth runs the model as a whole anyway.
        warnings.filterwarnings("ignore", "The following groups have a nonlinear solver", om.OpenMDAOWarning)
        assert truth.inputs
    return truth


def wing_model(truths: Sequence[Truth], panels: int, points: int, whole: bool = False) -> om.Group:
    """Join the truth with algebra: OpenAeroStruct's own components of fuel, weight and failure.

    Args:
        truths: One, see `wing_truth`.
        panels: See `wing_truth`.
        points: Likewise.
        whole: Likewise; then there is no algebra.

    Returns:
        A model with the design variables, and with fuelburn, L_equals_W, failure and thickness_intersects.
    """
    model, mass = om.Group(), ("wing_structural_mass", "structural_mass")
    named = [(path.replace(".", ":"), name) for path, name in (_WHOLE if whole else _OUTPUTS).items()]
    expensive = SurrogateComp(truth=truths[0])
    model.add_subsystem("aerostructure", expensive, promotes_inputs=["*"], promotes_outputs=named)
    if whole:
        return model
    surface = wing_surface(panels, points)
    stress = import_extra("openaerostruct.structures.failure_ks", "wing")
    fuel = import_extra("openaerostruct.functionals.breguet_range", "wing")
    weight = import_extra("openaerostruct.functionals.equilibrium", "wing")
    model.add_subsystem("stress", stress.FailureKS(surface=surface), promotes=["*"])
    model.add_subsystem("fuel", fuel.BreguetRange(surfaces=[surface]), promotes=["*", mass])
    model.add_subsystem("weight", weight.Equilibrium(surfaces=[surface]), promotes=["*", mass])
    for name, (value, units) in flight().items():
        if name != "re":  # which only the truth reads
            model.set_input_defaults(name, value, units=units)
    return model


def check_sizes(panels: int, points: int) -> None:
    """Check the sizes of a wing.

    Raises:
        InputError: If there are too few panels or control points, or more points than panels.
    """
    if panels < 2:
        raise InputError(explain("panels", "be at least 2", panels, "Try 10."))
    if not 2 <= points <= panels + 1:
        remedy = "More control points than nodes are not independent."
        raise InputError(explain("points", f"be between 2 and panels + 1 = {panels + 1}", points, remedy))
