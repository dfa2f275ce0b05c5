"""Who calls: passwords, tokens, sessions, and their end."""
