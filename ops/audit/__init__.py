"""The audit log that proves itself: verifying it, exporting it, proving one request's part, checking a proof offline."""
