"""Measuring whole pipelines: jobs, open-loop load, latencies, costs, and checks of every result."""
