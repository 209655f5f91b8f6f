"""Training: the model, the loop, checkpoints, and a resume that continues to the bit."""
