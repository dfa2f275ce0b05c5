"""What every endpoint shares: calls, answers, problems, cursors, and the description of routes."""
