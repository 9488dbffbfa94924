"""Models for other programs: TorchScript, ONNX, and packages of the BioImage Model Zoo."""
