"""What the service says about itself: logs, metrics, traces. Configured only by the wiring."""
