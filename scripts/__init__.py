"""Studies of gradopt, by theme, all called as `python -m scripts.THEME.NAME`.

`--help` says what a script measures, `--quick` runs it with a tiny budget to see that it works, and `--out` names its
result file. `scripts.shared` holds the parts of several themes; a theme imports only from itself and from there.
"""
