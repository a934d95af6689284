"""Configurations: frozen settings of a fit."""
