"""HTTP in, domain call, HTTP out; nothing is decided here."""
