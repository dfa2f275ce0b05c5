"""The work on a rules file that costs much CPU, in a process of its own: `process` asks, `program` answers."""
