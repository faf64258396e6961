"""The stages of a run, in the order in which the data flows; each is one command and one rule."""
