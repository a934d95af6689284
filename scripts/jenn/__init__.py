"""The experiments of the JENN paper."""
