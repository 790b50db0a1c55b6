"""Sounds: log-mel spectrograms cut into patches of time and frequency, recordings on disk, and embedded sets."""
