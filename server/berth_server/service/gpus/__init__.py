"""Rules about GPUs: observed state, the map, drains, reservations, telemetry."""
