"""Rosenbrock's valley in any dimension; in two, JENN's own demonstration."""
