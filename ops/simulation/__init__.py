"""A deterministic simulator: the real deciding code against an in-memory log, with faults, under one seed."""
