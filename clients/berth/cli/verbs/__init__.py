"""One file per verb. What costs time to import is imported inside the functions."""
