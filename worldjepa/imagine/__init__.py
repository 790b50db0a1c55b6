"""What the predictor imagines, made visible: decoders from representations back to observations.

Encoder and predictor are frozen; a decoder learns what observations belong to their representations. What its samples have in
common is in the representation, what varies between them is not.
"""
