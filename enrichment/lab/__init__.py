"""Where the service is tried and measured; it may import any room, and no stage imports it."""
