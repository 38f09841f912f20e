"""Checks of the Kubernetes files under deploy/: the schemas of Kubernetes, and what schemas cannot
see. No cluster is asked.
"""
