"""The adaptive loop as pure functions of arrays: optimality, trust region, merit. Floor 5."""
