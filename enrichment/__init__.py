"""Enrich every event of a stream in milliseconds; sample graph problems off the critical path."""

__version__ = "0.1.0"
