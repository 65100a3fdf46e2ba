"""Retraining in the background: jobs, the process that works them off, the gate, and people's corrections."""
