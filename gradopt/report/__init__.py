"""Result files, and measures of a run that has ended; nothing here evaluates a model."""
