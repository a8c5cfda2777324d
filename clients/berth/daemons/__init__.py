"""`berth up`: start server and worker and keep them running. Standard library only."""
