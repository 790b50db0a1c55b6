"""Trajectories: episodes of observations and actions, from disk or from worlds that are simulated here."""
