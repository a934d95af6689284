"""GradINN: what a prior about the gradient is worth."""
