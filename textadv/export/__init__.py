"""A classifier that runs without torch: an ONNX graph with all it takes to use it."""
