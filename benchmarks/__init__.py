"""Throughput of the sweep against hand-written rivals: ``python -m benchmarks``."""
