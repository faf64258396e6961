"""Maps and masks that other programs made: which file is whose, and what is in it."""
