"""Ready-made specs: varied training material, and the clip of the demo."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .geometry import position
from .spec import GEOMETRIES, LOOKS, Motion, PhantomSpec, Structure


def random_spec(
    rng: np.random.Generator, frames: int = 16, size: tuple[int, int] = (256, 256)
) -> PhantomSpec:
    """A varied spec: any geometry, 1 to 4 structures of any kind and size, any image setting.

    About half of the structures are in view all the time; the others pass through the imaging
    plane, or come and go because the probe slides.
    """
    side = min(size)
    geometry = str(rng.choice(GEOMETRIES, p=[0.5, 0.35, 0.15]))
    slides = rng.random() < 0.3
    speed = rng.uniform(0.3, 0.9) * side / max(frames, 8) if slides else rng.uniform(0, 0.3)
    way = rng.normal(0, 0.3) + (math.pi if rng.random() < 0.5 else 0)
    drift = (float(speed * math.cos(way)), float(speed * math.sin(way)))
    breathing = abs(rng.normal(0, 0.02)) * side
    motion = Motion(
        drift=drift,
        breathing=(float(0.3 * breathing), float(breathing)),
        breathing_period=float(rng.uniform(16, 60)),
        deformation=float(rng.uniform(0, 0.015) * side),
    )
    spec = PhantomSpec(
        seed=int(rng.integers(2**31)),
        frames=frames,
        size=size,
        geometry=geometry,
        motion=motion,
        view_angle_deg=float(rng.uniform(45, 90)),
        probe_radius=float(rng.uniform(0.03, 0.45) if geometry == "sector" else 0.1),
        zoom=float(rng.choice([rng.uniform(0.85, 1.0), 1.0, rng.uniform(1.0, 1.5)])),
        attenuation_db=float(rng.uniform(25, 65)),
        tgc=float(rng.uniform(0.75, 1.05)),
        gain_db=float(rng.normal(-1, 4)),
        dynamic_range_db=float(rng.uniform(45, 70)),
        noise_db=float(rng.uniform(-75, -50)),
        haze_db=float(rng.uniform(-34, -14)),
        streak_db=float(rng.uniform(0, 8)),
        speckle_px=(float(rng.uniform(0.55, 1.1)), float(rng.uniform(0.8, 2.4))),
        speckle_life=float(rng.uniform(6, 30)),
        compounding=int(rng.integers(1, 5)),
        layers=int(rng.integers(2, 8)),
        fibres=float(rng.uniform(0, 1)),
        pixel_spacing_mm=float(rng.uniform(0.08, 0.5)),
    )
    count = int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1]))
    placed: list[tuple[float, float, float]] = []
    structures = [_random_structure(rng, spec, count, placed) for _ in range(count)]
    others = [_random_structure(rng, spec, 4, placed) for _ in range(int(rng.integers(0, 4)))]
    return replace(
        spec,
        structures=tuple(s for s in structures if s is not None),
        distractors=tuple(s for s in others if s is not None),
    )


def _random_structure(rng, spec: PhantomSpec, count: int, placed: list) -> Structure | None:
    """One structure apart from those in `placed` (x, y, radius); None where there is no room."""
    height, width = spec.size
    frames, drift, side = spec.frames, spec.motion.drift, min(spec.size)
    kind = str(rng.choice(list(LOOKS)))
    largest = 0.38 if count == 1 else 0.3 if count == 2 else 0.2
    radius = side * float(np.exp(rng.uniform(math.log(0.035), math.log(largest))))
    if kind == "ring":  # a head fills much of the image
        radius = side * float(rng.uniform(0.12, largest + 0.04))
    aspect = float(rng.uniform(0.35, 1.0) if kind != "ring" else rng.uniform(0.7, 1.0))
    axes = (max(4.0, radius), max(3.0, radius * aspect))
    for _ in range(20):
        x, y = position(spec, rng.uniform(0.15, 0.9), rng.uniform(-0.85, 0.85))
        in_frame = 0 <= x < width and 0 <= y < height
        if in_frame and all(math.hypot(x - a, y - b) > 0.9 * (axes[0] + r) for a, b, r in placed):
            break
    else:
        return None
    placed.append((x, y, axes[0]))
    # this is where it is at a random moment; frame 0 is that much of the drift before
    moment = rng.uniform(0.2, 0.8) * frames
    visible, growth = _random_visit(rng, frames)
    own = rng.random() < 0.2
    velocity = rng.normal(0, 0.004 * side, 2) if own else (0.0, 0.0)
    calm = kind != "cyst" or rng.random() < 0.4
    return Structure(
        kind=kind,
        centre=(float(x - drift[0] * moment), float(y - drift[1] * moment)),
        axes=axes,
        angle_deg=float(rng.uniform(-180, 180)),
        irregularity=float(rng.uniform(0, 0.25 if kind == "ring" else 1) ** 1.3),
        bend=float(rng.uniform(-0.8, 0.8)) if kind != "ring" and rng.random() < 0.2 else 0.0,
        echo_db=_random_echo(rng, kind),
        wall_db=float(rng.uniform(14, 34) if kind == "ring" else rng.uniform(0, 18)),
        wall_px=float(np.clip(rng.uniform(0.04, 0.16) * radius, 1.5, 12)),
        shadow_db=float(rng.uniform(10, 35)) if kind == "hyper" and rng.random() < 0.3 else None,
        vagueness=float(rng.beta(1.3, 2.2)),
        dropout=float(rng.beta(1.2, 3)),
        visible=visible,
        growth=growth,
        velocity=(float(velocity[0]), float(velocity[1])),
        wobble=float(rng.uniform(0, 0.012) * side),
        pulse=0.0 if calm else float(rng.uniform(0.03, 0.2)),
        pulse_period=float(rng.uniform(10, 30)),
    )


def _random_echo(rng, kind: str) -> float:
    low, high = {
        "cyst": (-45, -25), "hypo": (-20, -7), "hyper": (5, 14), "ring": (-16, -3),
        "nerve": (-4, 4),
    }[kind]  # fmt: skip
    return float(rng.uniform(low, high))


def _random_visit(rng, frames: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """Frame ranges in which the plane cuts a structure, and how fast it grows."""
    growth = int(rng.integers(2, max(3, frames // 3) + 1))
    if rng.random() < 0.5 or frames < 6:
        return (), growth
    start, end = sorted(int(v) for v in rng.integers(0, frames, 2))
    end = max(end, min(frames - 1, start + frames // 4))
    course = rng.random()
    if course < 0.3:  # only leaves: it was there before the clip
        return ((-growth - 1, end),), growth
    if course < 0.6:  # only enters
        return ((start, frames + growth),), growth
    if course < 0.85 or end - start < 9:
        return ((start, end),), growth
    middle = (start + end) // 2
    return ((start, middle - 2), (middle + 2, end)), max(2, growth // 2)


def demo_spec() -> PhantomSpec:
    """The demo: a convex probe; a lesion comes into the plane at frame 8 and leaves after 39."""
    lesion = Structure(
        "hypo",
        (184, 222),
        (48, 35),
        angle_deg=-18,
        irregularity=0.5,
        echo_db=-13,
        wall_db=5,
        vagueness=0.35,
        visible=((8, 39),),
        growth=5,
        wobble=1.5,
    )
    vessel = Structure("cyst", (96, 200), (17, 11), angle_deg=20, pulse=0.12, pulse_period=14)
    return PhantomSpec(
        seed=11,
        frames=48,
        size=(320, 320),
        geometry="sector",
        structures=(lesion,),
        distractors=(vessel,),
        motion=Motion(
            drift=(0.15, 0.0), breathing=(1.0, 4.0), breathing_period=32.0, deformation=2.5
        ),
        view_angle_deg=58.0,
        probe_radius=0.22,
        zoom=1.12,
        gain_db=2.0,
        pixel_spacing_mm=0.35,
        frame_rate=16.0,
    )
