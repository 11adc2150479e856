"""Evaluation protocols and what they return."""
