"""What goes over a wire or into a log: commands, events, refusals, state, topics. No I/O, no clock."""
