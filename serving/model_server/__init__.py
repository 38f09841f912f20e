"""The embedded model server: a process that answers TF Serving's gRPC API.

It restores SavedModels with TensorFlow's session loader, as TF Serving does, and is started by
`cxr-triage serve` where no TF Serving is at hand. `python -m serving.model_server --help`.
"""
