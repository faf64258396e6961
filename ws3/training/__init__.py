"""What the trainings of the classifier and of the segmenter share."""
