"""Kubernetes manifests of what is agreed here: the way out for a site that moves to K3s.

    services, placements, config maps -> one drawing per service -> objects, and notes

The notes say what Kubernetes has no word for. Values of secrets are none of this module's.
"""

from roheletd.kubernetes.site import Export, Manifest, Site, exported

__all__ = ["Export", "Manifest", "Site", "exported"]
