"""The loop without OpenMDAO: ask and tell for other programs, and SciPy's calling convention. Floor 7."""
