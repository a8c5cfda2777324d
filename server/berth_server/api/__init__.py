"""Routes: parse, authorise, call, answer. No rules live here."""
