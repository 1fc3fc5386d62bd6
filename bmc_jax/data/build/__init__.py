"""Datasets built on disk: records, shards, checks."""
