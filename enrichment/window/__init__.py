"""Micro-batching: digests in, closed windows with their candidate subgraphs and features out.

Everything that decides is pure (pane, watermark, aggregate, horizon, known_bad, candidates,
classical, close, shard, partition): time comes in as an argument. Only `agents` (Faust), `driver`
(its Kafka transport) and `close_log` touch the outside. Meets the other stages at topics alone.
"""
