"""Designs of experiments: points within the bounds of the inputs."""

from gradopt.data.sampling import full_factorial, latin_hypercube, sobol

__all__ = [
    "full_factorial",
    "latin_hypercube",
    "sobol",
]
