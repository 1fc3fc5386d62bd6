"""Data from files and rendered domains, as batches."""
