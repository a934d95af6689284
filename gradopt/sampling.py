"""Designs of experiments: points within the bounds of the inputs."""

from gradopt.data.sampling import full_factorial as full_factorial
from gradopt.data.sampling import latin_hypercube as latin_hypercube
from gradopt.data.sampling import sobol as sobol
