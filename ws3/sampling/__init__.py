"""Where and how samples of an image are drawn: pure geometry and seeds, no torch."""
