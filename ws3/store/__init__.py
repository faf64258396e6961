"""The Zarr stores: create, append, read, verify. `docs/store.md` describes the format."""
