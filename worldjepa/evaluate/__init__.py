"""What a representation is worth: embeddings, probes, rank and variance, and the baselines to read them against."""
