"""The catalogue rendered into the configuration of the servers around the worker."""
