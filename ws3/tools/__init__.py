"""What is done with a run beside its stages: compare, export, show."""
