"""Runs that show what the library learns: one resumable command each, results kept beside it."""
