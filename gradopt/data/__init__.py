"""Variables, datasets, scaling, designs of experiments and writing of files. Floor 1: imports `gradopt.errors`."""
