"""GradINN: priors on the gradient, auxiliary networks, collocation points, loss and configuration."""
