"""A run's folder: where everything of it lies, and what is known of it."""
