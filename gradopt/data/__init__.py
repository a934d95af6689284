"""Variables, datasets, scaling and designs of experiments. Floor 1: imports only `gradopt.errors`."""
