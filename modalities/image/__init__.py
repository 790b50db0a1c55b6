"""Images: patches as tokens, data sets on disk, and two embedded sets that need no download."""
