"""Simulated B-mode ultrasound clips with exact masks, for tests, training and the demo.

spec = random_spec(np.random.default_rng(1))
clip = simulate(spec)  # clip.frames, clip.labels, clip.windows
"""

from .presets import demo_spec, random_spec
from .simulate import PhantomClip, simulate
from .spec import GEOMETRIES, LOOKS, Look, Motion, PhantomSpec, Structure

__all__ = [
    "GEOMETRIES",
    "LOOKS",
    "Look",
    "Motion",
    "PhantomClip",
    "PhantomSpec",
    "Structure",
    "demo_spec",
    "random_spec",
    "simulate",
]
