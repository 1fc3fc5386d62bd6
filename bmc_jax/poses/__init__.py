"""Poses of any estimator: read, convert, repair, smooth, sample."""
