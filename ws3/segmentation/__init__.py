"""The network that learns from pseudo-masks: building, training, saving, predicting."""
