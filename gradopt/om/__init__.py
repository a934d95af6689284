"""gradopt inside OpenMDAO. Floor 6."""
