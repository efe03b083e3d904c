"""The web page and HTTP API. A stage of its own: it meets the others at topics only."""
