"""The web page and HTTP API. A stage of its own: it meets the others at topics only.

What it shows it follows on topics, in bounded memory; what it must ask or do it asks and does by
the project's own commands, as child processes. It decides nothing: no score, job or feature depends
on whether it runs. `limits.py` names every bound; `endpoints.py` is the table of what is served.
"""
