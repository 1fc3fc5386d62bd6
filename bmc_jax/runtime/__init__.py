"""What every long-running process needs: progress, processes that agree, atomic files, provenance."""
