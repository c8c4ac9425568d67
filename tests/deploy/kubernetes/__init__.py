"""The manifests for Kubernetes, as far as they can be checked without a cluster."""
