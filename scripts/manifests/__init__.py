"""Checks of the Kubernetes files under kubeflow/manifests/: the schemas of Kubernetes, and what schemas cannot
see. No cluster is asked.
"""
