"""How Athena is set up, started, watched and mended."""
