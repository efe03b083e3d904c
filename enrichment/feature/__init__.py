"""The feature cache: its layout, the verdict on age, the projector and the public reader.

May import records and pipelines; only the projector may import Kafka plumbing.
"""
