"""The truth: functions and OpenMDAO models to learn from, and the store that keeps evaluations. Floor 4."""
