"""The gateway's own SQL, one concept per file. Every list is a keyset page over an index."""
