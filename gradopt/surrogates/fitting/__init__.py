"""Fitting: from data and a configuration to trained networks."""
