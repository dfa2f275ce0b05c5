"""Reference data as CSV files: one kind a file, written out, read, checked whole, and taken over row by row."""
