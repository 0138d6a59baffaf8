"""The methods of the comparison: each answers blocks of series in a process of its own (bench/methods/child.py)."""
