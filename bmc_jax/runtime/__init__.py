"""Services of long-running processes: progress bars, checks between processes, atomic files, locks, provenance."""
