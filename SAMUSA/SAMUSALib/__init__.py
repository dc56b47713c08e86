"""SAMUSA: annotate ultrasound with boundary points and temporal windows."""

__version__ = "0.1.0"
