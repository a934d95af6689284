"""The adaptive loop: truth evaluations, certificates, failures, interruption."""
