"""Readers of public datasets: files on disk to `types.Batch`, right hands in FreiHAND order, crops of one size."""
