"""Benchmarks: commands that print a table and write JSON, their peers beside them in the same run.

May import anything that a stage may, and the stages themselves; nothing imports it but the command
line. A benchmark never asserts an absolute time, and never times two systems at once.
"""
