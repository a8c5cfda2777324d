"""Models: loading, preparation, attention, loss and layers."""
