"""Aligned models in the forms that other tools read: open_clip folders, clip_benchmark scripts, ONNX heads."""
