"""Below the API: connections, and what a client may do with them."""
