"""Services of long-running processes: progress bars, agreement between processes, atomic files, provenance."""
