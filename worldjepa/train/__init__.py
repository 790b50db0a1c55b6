"""The training loop and what it stands on: settings, schedules, data order, optimiser, checkpoints, logs."""
