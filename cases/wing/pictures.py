"""The wing before and after: twist, spar, lift and stress along the span, and the shape that it bends to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm

from cases.adaptive_case import AdaptiveResult
from cases.wing.aerostructure import POINT, THICKNESS, wing_problem, wing_surface
from gradopt.plots.figure import LIMIT, MODEL, TRUTH, new_figure


@dataclass(frozen=True)
class Wing:
    """Quantities along the span, from the tip to the root; n nodes and n - 1 panels.

    Attributes:
        y: Distance of the nodes from the root (n,) in m.
        middle: Distance of the panels from the root (n - 1,) in m.
        alpha: Angle of attack in degrees.
        twist: Twist of the wing as built, at the nodes (n,) in degrees.
        flown: Twist in flight, with the elastic part, (n,) in degrees.
        thickness: Thickness of the tube's wall (n - 1,) in mm.
        radius: Radius of the tube (n - 1,) in mm.
        lift: Lift per span (n - 1,) in kN/m.
        stress: Largest von Mises stress over the allowable one (n - 1,).
        built: Leading and trailing edge as built (2, n, 3) in m.
        bent: Leading and trailing edge in flight (2, n, 3) in m.
        fuel: Fuel burn in t.
        mass: Mass of the structure in t.
    """

    y: np.ndarray
    middle: np.ndarray
    alpha: float
    twist: np.ndarray
    flown: np.ndarray
    thickness: np.ndarray
    radius: np.ndarray
    lift: np.ndarray
    stress: np.ndarray
    built: np.ndarray
    bent: np.ndarray
    fuel: float
    mass: float


def look(panels: int, points: int) -> Callable[[np.ndarray], Wing]:
    """Return a function that runs the model at design variables (2 points + 1,) and returns what is drawn."""
    problem, surface = wing_problem(panels, points), wing_surface(panels, points)
    allowable = surface["yield"] / surface["safety_factor"]

    def at(x: np.ndarray) -> Wing:
        for name, value in (("twist_cp", x[:points]), ("thickness_cp", x[points:-1]), ("alpha", x[-1])):
            problem.set_val(name, value)
        problem.run_model()

        def get(name: str, units: str | None = None) -> np.ndarray:
            return np.array(problem.get_val(name, units=units))

        built, bent = get("wing.mesh", "m"), get(f"{POINT}.coupled.wing.def_mesh", "m")
        y = -built[0, :, 1]
        # Lift is across the flow, which comes at alpha from below.
        force, angle = get(f"{POINT}.coupled.aero_states.wing_sec_forces", "N").sum(axis=0), np.radians(x[-1])
        lift = force[:, 2] * np.cos(angle) - force[:, 0] * np.sin(angle)
        return Wing(
            y=y,
            middle=(y[1:] + y[:-1]) / 2.0,
            alpha=float(x[-1]),
            twist=_incidence(built),
            flown=_incidence(bent),
            thickness=get("wing.thickness", "mm").ravel(),
            radius=get("wing.radius", "mm").ravel(),
            lift=lift / -np.diff(y) / 1e3,
            stress=get(f"{POINT}.wing_perf.vonmises", "N/m**2").max(axis=1) / allowable,
            built=built,
            bent=bent,
            fuel=float(get(f"{POINT}.fuelburn", "kg")[0]) / 1e3,
            mass=float(get("wing.structural_mass", "kg")[0]) / 1e3,
        )

    return at


def draw(result: AdaptiveResult, folder: Path, panels: int, points: int) -> list[Path]:
    """Draw start and final design into `spanwise.png` and `planform.png`; runs the model twice."""
    at = look(panels, points)
    wings = {"start": at(result.case.start), "final design": at(result.final.x)}
    pictures = [folder / "spanwise.png", folder / "planform.png"]
    _spanwise(wings, pictures[0])
    _planform(wings, pictures[1])
    return pictures


def _incidence(mesh: np.ndarray) -> np.ndarray:
    """Angle of the chord at each node (n,) in degrees, nose up, of leading and trailing edge (2, n, 3) in m."""
    chord = mesh[-1] - mesh[0]
    return np.degrees(np.arctan2(-chord[:, 2], chord[:, 0]))


def _spanwise(wings: dict[str, Wing], path: Path) -> None:
    figure = new_figure(10.0, 7.2)
    (twist, thickness), (lift, stress) = figure.subplots(2, 2, sharex=True)
    for (label, wing), color in zip(wings.items(), (TRUTH, MODEL), strict=True):
        style = {"color": color, "linewidth": 1.6, "linestyle": "--" if label == "start" else "-"}
        # Twist and angle of attack do almost the same, so that only their sum can be compared.
        twist.plot(wing.y, wing.alpha + wing.twist, **style, label=f"{label}, as built; alpha {wing.alpha:.1f}")
        bent = {**style, "linewidth": 0.8}
        twist.plot(wing.y, wing.alpha + wing.flown, **bent, marker=".", label=f"{label}, bent in flight")
        _steps(thickness, wing, wing.thickness, style, f"{label}: structure {wing.mass:.1f} t, fuel {wing.fuel:.1f} t")
        lift.plot(wing.middle, wing.lift, **style, marker=".", label=label)
        _steps(stress, wing, wing.stress, style, label)
    final = wings["final design"]
    span = final.y[0]
    total = np.sum(final.lift * -np.diff(final.y))
    y = np.linspace(0.0, span, 200)
    ellipse = 4.0 * total / (np.pi * span) * np.sqrt(1.0 - (y / span) ** 2)
    lift.plot(y, ellipse, color="gray", linewidth=0.8, label="ellipse with the final design's lift")
    _steps(thickness, final, final.radius, {"color": LIMIT, "linewidth": 1.0}, "upper limit: the radius of the tube")
    thickness.axhline(1e3 * THICKNESS[0], color=LIMIT, linewidth=1.0, linestyle=":", label="lower limit")
    thickness.set(yscale="log")
    stress.axhline(1.0, color=LIMIT, linewidth=1.0, label="limit")
    twist.set(title="Angle of the sections to the flow: alpha + twist", ylabel="degrees")
    thickness.set(title="Wall thickness of the spar", ylabel="mm")
    lift.set(title="Lift per span", ylabel="kN/m", xlabel="distance from the root (m)")
    stress.set(title="Largest von Mises stress / allowable", xlabel="distance from the root (m)", ylim=(0.0, None))
    for axis in (twist, thickness, lift, stress):
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _steps(axis: Axes, wing: Wing, values: np.ndarray, style: dict[str, Any], label: str) -> None:
    """Draw what is constant along each panel (n - 1,), from the root to the tip."""
    axis.stairs(values[::-1], wing.y[::-1], baseline=None, label=label, **style)


def _planform(wings: dict[str, Wing], path: Path) -> None:
    """Draw the wing from above, colored by the spar's thickness, left half the start; and bent, from the front."""
    figure = new_figure(10.0, 6.0)
    above, front = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1.0))
    every = np.concatenate([wing.thickness for wing in wings.values()])
    scale = LogNorm(every.min(), every.max())  # the spar may become ten times thinner
    for (label, wing), side, color in zip(wings.items(), (-1.0, 1.0), (TRUTH, MODEL), strict=True):
        leading, trailing = wing.built[0], wing.built[-1]
        edge = np.stack([side * wing.y, leading[:, 0]], axis=1), np.stack([side * wing.y, trailing[:, 0]], axis=1)
        quads = [[edge[0][k], edge[0][k + 1], edge[1][k + 1], edge[1][k]] for k in range(len(wing.y) - 1)]
        shades = PolyCollection(
            quads, array=wing.thickness, norm=scale, cmap="viridis", edgecolors="white", linewidths=0.5
        )
        above.add_collection(shades)
        above.text(side * wing.y[0] / 2.0, leading[:, 0].min(), label, ha="center", color=color)
        for mesh, width, name in ((wing.built, 0.8, "as built"), (wing.bent, 1.8, "in flight")):
            line = "--" if name == "as built" else "-"
            place = side * -mesh[0, :, 1]
            front.plot(place, mesh[0, :, 2], line, color=color, linewidth=width, label=f"{label}, {name}")
    figure.colorbar(shades, ax=above, label="wall of the spar (mm)")
    above.autoscale_view()
    above.invert_yaxis()
    above.set(aspect="equal", ylabel="x (m)", title="From above: start left, final design right")
    front.set(xlabel="distance from the root (m)", ylabel="z (m)", title="From the front: leading edge")
    front.legend(fontsize=8, ncols=2)
    front.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
