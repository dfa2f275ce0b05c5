"""What changed for somebody since they last looked: updates in pages, and live events."""
