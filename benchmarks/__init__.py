"""The tables of docs/performance.md: `python -m benchmarks TABLE`, from the repository's root."""
