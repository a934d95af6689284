"""Priors on the gradient, for `gradopt.GradINN`."""

from gradopt.surrogates.gradinn.priors import (
    Bounded,
    Constant,
    Custom,
    Independent,
    Monotone,
    Oscillating,
    Prior,
    Smooth,
)

__all__ = [
    "Bounded",
    "Constant",
    "Custom",
    "Independent",
    "Monotone",
    "Oscillating",
    "Prior",
    "Smooth",
]
