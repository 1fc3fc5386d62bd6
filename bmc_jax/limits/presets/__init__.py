"""Limits that are installed with the package, and the programs that generate them."""
