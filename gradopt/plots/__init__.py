"""Plots of histories, results and surrogates: each returns a matplotlib figure, and saves it where there is a path.

Floor 8. The import of this module imports matplotlib; `import gradopt` does not.
"""

from gradopt.plots.history import Trace, plot_convergence, plot_prediction, plot_trust_region
from gradopt.plots.surrogate import plot_cross_validation, plot_optimizer_history, plot_parity

__all__ = [
    "Trace",
    "plot_convergence",
    "plot_cross_validation",
    "plot_optimizer_history",
    "plot_parity",
    "plot_prediction",
    "plot_trust_region",
]
