"""Typed recipes and run configuration, from plain dicts."""
