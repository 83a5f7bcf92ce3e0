"""
Monitoring: what a server sees of itself (thresholds, probes, look, report), and what the master makes of it (store,
incoming, watch, inventory, metrics, notify).
"""
