"""What costs are compared with: servers that do the least that could be called the same work."""
