"""Kafka plumbing: names of topics, headers, consumers and transactions. Knows no stage."""
