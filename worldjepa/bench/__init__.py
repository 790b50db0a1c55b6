"""Benchmarks: tasks and suites, the runner, and one file a result."""
