"""Other stream libraries doing what the hot path does, each as a process of its own.

Pass-through: the same bytes to another topic. Same work: typed decode, the same keys read from
Redis, verdict, scores of every path with reasons, the same record and headers. Nothing but
`enrichment bench` starts them.
"""
