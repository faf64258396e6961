"""The built-in dataset of drawn creatures: scenes, their drawing, and the files."""
