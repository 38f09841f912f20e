"""Checks the Kubernetes files under kubeflow/manifests/ without a cluster.

kubectl renders the files and kubernetes-validate compares them with the schemas of Kubernetes. The
checks in this package find problems that schemas cannot express. They are our own code because
checkov 3.3.30 (102 packages, 199 MB, 7 s of CPU per run) finds only 19 of the 93 faults in
tests/support/broken_manifests.py, six of them without the name of the field. It misses hostPath
volumes, a container's Unconfined seccomp profile, procMount, AppArmor, SELinux, sysctls and probes
of other hosts. So restricted.py would have to stay, and the code that reads checkov's report would
be about as long as the code that it replaces.
"""
