"""Long runs against the real service: commands, whose last results are written down in README.md."""
