"""The worker's connection to the server: desired state in, reports out."""
