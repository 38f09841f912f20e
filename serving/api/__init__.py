"""TF Serving's gRPC API, without TensorFlow: messages, tensors, client and server."""
