"""Checks the Kubernetes files under kubeflow/manifests/ without a cluster.

kubectl renders them and kubernetes-validate compares them with the schemas of Kubernetes. The
checks here find what schemas cannot see. They are our own code because checkov 3.3.30 (102
packages, 199 MB, 7 s of CPU per run) finds only 19 of the 93 faults in
tests/support/broken_manifests.py, six of them without naming the field. It misses hostPath
volumes, a container's Unconfined seccomp profile, procMount, AppArmor, SELinux, sysctls and
probes of other hosts, so restricted.py would have to stay, and reading checkov's report would
take about as much code as it replaces.
"""
