"""Labelled data sets as they lie on disk: which one a folder is, and how each is read."""
