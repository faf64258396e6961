"""Image-level classifiers: networks, checkpoints and training."""
