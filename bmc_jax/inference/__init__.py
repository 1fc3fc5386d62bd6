"""Uses of a checkpoint: evaluation, prediction, reports, export."""
