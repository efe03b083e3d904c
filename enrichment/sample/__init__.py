"""The sample stage: micro-batches become jobs, jobs are solved, and features and cases come out.

What may enter: the job's machine, its ledger, and what is read off samples. Kafka is met only in
`ledger`, providers only through their contract; the rest but
`worker` and `stage` is pure.
"""
