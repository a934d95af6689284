"""Networks: shape, activations, values and partials in one pass. Floor 2."""
