"""Batches of what phones did while they were offline."""
