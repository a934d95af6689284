"""Plots of histories, results and surrogates. Floor 8."""
