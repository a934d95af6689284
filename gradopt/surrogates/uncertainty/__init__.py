"""Posteriors of trained networks, and predictive standard deviations."""
