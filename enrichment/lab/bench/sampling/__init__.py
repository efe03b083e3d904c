"""`enrichment bench sampling` and `noise`: how fast, how good and how sure, without servers.

One file for each of the bench's cases, with a function from `BenchOptions` to rows; what is timed
runs in a child process of one thread, held to one core.
"""
