"""3D hand pose from RGB images, weakly supervised through biomechanical constraints."""

__version__ = "0.1.0"
