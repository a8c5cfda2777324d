"""Launchers, one file each: where the count stands, what is rewritten, which port it takes, how it ends."""
