"""Loaded images: their files, where they lie, and what their symbols say."""
