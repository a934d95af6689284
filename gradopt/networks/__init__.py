"""Networks: their shape and activations; their values and partials in one pass. Floor 2."""
