"""Who may do what to which object: every role, endpoint and object with its expected answer, tried on the running product."""
