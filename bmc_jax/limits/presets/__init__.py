"""Limits that ship with the package, by name, and the programs that make them."""
