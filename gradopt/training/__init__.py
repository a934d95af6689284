"""What is fitted and how: weighted residuals, solvers, results. Floor 3."""
