"""The adaptive loop: ask, tell, and the state between them. Floor 6."""
