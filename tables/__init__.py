"""What the worker keeps: the fold of events, and the record of one request."""
