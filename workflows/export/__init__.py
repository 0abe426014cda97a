"""Weights as others take them: safetensors with a model card, a MONAI bundle, ONNX."""
