"""Runs a compiled specification on this machine as Kubeflow Pipelines would, step by step.

It tests a specification and the images without a cluster. It follows Kubeflow's sources, not its
documentation: it treats inputs, artifacts and the cache as they do, their oddities included.
Comments name the source files, under backend/src of kubeflow/pipelines 2.17.0. It refuses what
`cxr-triage compile` never writes: nested graphs, iterators, conditions, importers and output
parameters.

- `driver`: the input of a step, and the key of the cache
- `launcher`: copies artifacts between the store and the pod, runs the command, publishes outputs
- `objects`: folders in place of buckets
- `metadata`: what Kubeflow stores in ML Metadata
- `pods`: a command in a container, or in a process that sees its own /minio, /gcs and /s3
- `runs`: the order of steps, retries, failures. Retries follow the chosen version
  (`pipeline.kubeflow.versions`), everything else follows 2.17.0.
"""
