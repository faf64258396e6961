"""How a run's work is cut into jobs, and how a job survives whatever happens to it."""
