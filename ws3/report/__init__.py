"""Figures, gallery and HTML page of a run."""
