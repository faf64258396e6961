"""Scores of masks and maps, streaming: int64 counts whose size is independent of the images.

In arrays of results, index 0 of `Confusion` is the background; all other metrics know object
classes only, and index i belongs to class i of the class list (mask value i + 1).
"""
