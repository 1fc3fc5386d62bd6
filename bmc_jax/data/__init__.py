"""From files or rendered domains to batches."""
