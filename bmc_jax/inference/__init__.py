"""What a checkpoint is used for: evaluation, prediction, reports, export."""
