"""The typed door to the REST interface. Use it as `berth.Client`."""
