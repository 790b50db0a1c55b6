"""Videos: tubelets as tokens, clips from files of every kind, and an embedded set that is encoded on first use."""
