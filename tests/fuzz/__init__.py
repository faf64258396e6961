"""A fuzz of all borders: what a user can hand to ws3 is spoilt at random, and ws3 must say so."""
