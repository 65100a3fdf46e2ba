"""Retraining in the background: jobs, the worker that runs them, the gate, and feedback."""
