"""How a job survives whatever happens to it: leases, progress, the loop over a batch's images."""
