"""Other ways to serve the same network: a folder each, with what it requires and how it serves."""
