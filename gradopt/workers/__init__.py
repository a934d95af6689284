"""Evaluations in other processes: on this machine, or on any executor of `concurrent.futures`. Floor 1."""
