"""Experiments: each measures one question on stacks of its own, in a short form (seconds, for tests) and a long one."""
