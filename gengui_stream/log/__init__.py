"""The append-only log on Kafka: its topic, appending, reading, positions, and the bytes of a record."""
