"""From data and configuration to fitted networks."""
