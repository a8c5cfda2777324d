"""The database: tables, the one writer, named queries. No rules live here."""
