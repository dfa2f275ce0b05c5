"""The embedded stack: one Kafka broker, one PostgreSQL and Athena's processes, in one folder: the home."""
