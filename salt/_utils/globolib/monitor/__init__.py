"""Monitoring: what a server sees of itself and tells its master, and what the master makes of it."""
