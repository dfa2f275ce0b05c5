"""Signs checkpoints of `athena.audit`: a Merkle tree over each partition, published on `athena.checkpoints`."""
