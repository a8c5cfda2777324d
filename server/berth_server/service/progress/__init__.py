"""Progress of running attempts: reading their files, and what is believed of them."""
