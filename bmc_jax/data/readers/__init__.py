"""Readers of datasets: one module a dataset, files on disk to `annotation.Annotation`. They need no JAX."""
