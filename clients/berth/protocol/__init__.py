"""Wire models shared by every component: what travels over REST and between the daemons."""
