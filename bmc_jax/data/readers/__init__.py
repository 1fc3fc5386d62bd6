"""Readers of datasets, one module each, which convert files on disk to `annotation.Annotation`. They need no JAX."""
