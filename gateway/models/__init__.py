"""Bodies that clients send, and the shapes of answers as the OpenAPI document shows them."""
