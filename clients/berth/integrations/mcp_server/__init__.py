"""Server for coding agents by the Model Context Protocol (`berth mcp`): nine tools over the queue."""
