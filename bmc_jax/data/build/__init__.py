"""Builds of datasets: annotations to checked records in array_record shards."""
