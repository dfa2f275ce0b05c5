"""The gateway's side of Kafka: commands out, outcomes in, security events out."""
