"""Offline training of the networks that Digits serves. Never imports ``app``."""
