"""ws3: weakly supervised semantic segmentation from saliency maps and class activation maps."""

__version__ = "0.1.0"
