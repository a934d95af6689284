"""JENN and MLP, the fitted surrogate, polishing, files. Floor 4."""
