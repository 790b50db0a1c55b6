"""Pictures of what a model sees, asks, attends to and believes, for any modality, each with its numbers."""
