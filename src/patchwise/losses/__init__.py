"""Losses, one a file: a function and a thin Module."""
