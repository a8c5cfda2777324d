"""Progress of running attempts: reading it out of text, and the time that it leaves. Pure."""
