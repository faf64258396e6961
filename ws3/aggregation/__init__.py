"""From samples to partial sums, and from partial sums to one map per class."""
