"""HTTP to commands, and the read side to HTTP. Knows `schemas`, `ops` and its own SQL; decides nothing."""
