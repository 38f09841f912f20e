"""Runs a compiled specification on this machine the way Kubeflow Pipelines would, step by step in
containers or processes.

A tool to prove a specification and the images without a cluster. It follows Kubeflow's sources, not
its documentation: whatever they do to the input of a step, the artifacts and the cache is done here
too, also where it hurts. The places are named beside the code, as files under backend/src of
kubeflow/pipelines 2.17.0. What a specification from `cxr-triage compile` never has (nested graphs,
iterators, conditions, importers, output parameters) is refused, not guessed.

- `driver`: what a step is given, and the key of the cache;
- `launcher`: copies artifacts between the store and the pod, runs the command, publishes what came
  out;
- `objects`: folders in the place of buckets;
- `metadata`: what Kubeflow keeps in ML Metadata;
- `pods`: a command in a container, or in a process that sees its own /minio, /gcs and /s3;
- `runs`: the order of steps, retries, the end. Retries follow the chosen version
  (`pipeline.kubeflow.versions`); everything else is as in 2.17.0.
"""
