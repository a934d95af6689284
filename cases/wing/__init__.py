"""An aerostructural wing: vortex lattice and beam finite elements, coupled, with their adjoint."""
