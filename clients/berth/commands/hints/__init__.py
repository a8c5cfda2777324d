"""Signs in a command or its script that are reported at submit, and never obeyed."""
