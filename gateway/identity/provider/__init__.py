"""Sign-in with an outside OpenID Connect provider: authorization code with PKCE, held by the client."""
