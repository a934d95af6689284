"""Parts of the scripts of several themes: the call, rows, statistics, costs, problems and peer methods."""
