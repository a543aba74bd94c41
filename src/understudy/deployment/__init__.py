"""Export to ONNX, the bundle and its runtime."""
