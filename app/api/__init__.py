"""The HTTP interface: translates requests into calls and results into replies. It decides nothing itself."""
