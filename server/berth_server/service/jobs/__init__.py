"""Rules about jobs: submit, change, cancel, retry, and how rows become what users see."""
