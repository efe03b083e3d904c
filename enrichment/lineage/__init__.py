"""What stands behind an enriched event and behind a job, found in the topics and drawn again.

It reads what all stages have written, and so may import any of them; none imports it.
"""
