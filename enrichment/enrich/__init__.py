"""The hot path: every record of a stream answered once, in milliseconds, whatever happens behind.

May import records, pipelines, feature.verdict, feature.store and stream; no sampler, no window.
"""
