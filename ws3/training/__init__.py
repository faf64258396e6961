"""What the trainings of the classifier and of the segmentation network share."""
