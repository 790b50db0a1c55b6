"""Building blocks without a modality: position codes, transformer blocks, initialisation."""
