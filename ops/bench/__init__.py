"""`athena bench`: what the whole path costs, measured over HTTP from this process, which is not a part of it."""
