"""What `benchmarks.efficiency` and `benchmarks.ablations` are made of."""
