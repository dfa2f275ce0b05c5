"""Writes the read side (PostgreSQL) from `athena.audit`: in batches, each in one transaction with the offsets applied."""
