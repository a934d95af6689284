"""GradINN: priors on the gradient, auxiliary network, collocation points and loss."""
