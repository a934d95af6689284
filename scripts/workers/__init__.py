"""Many evaluations: the store, workers that die, finite differences on workers."""
