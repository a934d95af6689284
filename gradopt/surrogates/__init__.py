"""Surrogates: configurations, fitting, fitted surrogates and their files, uncertainty, diagnostics. Floor 4."""
