"""Pictures of results; reads results, computes nothing. Floor 7."""
