"""The service around a pushed model: model server, releases, gateway and the reader's work list.

Only `serving.model_server`, which runs in a process of its own, imports TensorFlow.
"""
