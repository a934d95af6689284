"""Posteriors of fitted networks and the predictive standard deviations they give."""
