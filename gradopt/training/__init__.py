"""Training: the fit as a least-squares problem, solvers for such problems, and the evidence. Floor 3."""
