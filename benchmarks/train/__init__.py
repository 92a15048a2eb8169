"""Train: the training loop, its feed and its memory."""
