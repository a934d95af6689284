"""Configurations: frozen settings with `.fit`."""
