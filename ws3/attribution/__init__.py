"""Score maps of one sample: class activation maps, gradients, and methods from Captum."""
