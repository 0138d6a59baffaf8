"""Measurements behind the numbers in README and docs; not part of the product."""
