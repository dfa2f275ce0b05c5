"""Secrets of a process: where they come from, and how it notices that they were changed."""
