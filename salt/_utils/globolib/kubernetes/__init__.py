"""
The same release on Kubernetes: what the manifests are rendered from.

``wishes`` is the part of pillar that servers do not have, ``refusals`` what cannot be on Kubernetes, ``values`` what
the templates fill in (all pure); ``render`` fetches what they need.
"""
