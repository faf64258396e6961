"""What the Snakemake rules ask: which files, which batches, which parameters."""
