"""From a finished model to what a version is made of: quantized packages, exports, the manifest."""
