"""Importing: datasets as other tools write them, taken over as a folder dataset."""
