"""Long runs against the real service: commands, whose last results stand in docs/benchmarks.md."""
