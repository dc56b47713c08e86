"""The worker: a background process that owns the model, and how to talk to it."""
