"""From a spec to a clip.

For each frame, in beam space: where the tissue of each sample came from (motion, deformation), its
echo level (layers, structures, walls), what the beam lost on its way (attenuation, shadow,
enhancement) and what gain restores, times speckle, plus noise; then the logarithm of the envelope
and scan conversion. The level modulates the speckle after its convolution with the point spread
(the level is blurred across the lines instead), so plain tissue keeps Rayleigh statistics as long
as nothing is compounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .geometry import Beams, make_beams
from .shapes import Shape
from .spec import PhantomSpec
from .speckle import Speckle, noise_tile
from .tissue import Tissue, make_tissue

_TISSUE_SHARE = 0.42  # grey of average tissue, as a share of the shown range
_DIFFUSE = 10**0.5  # power above which an echo is partly coherent
_DB = np.float32(math.log(10) / 20)


@dataclass(frozen=True)
class PhantomClip:
    """A simulated clip and its truth.

    frames: (T, H, W) uint8. labels: (T, H, W) uint8, 0 background, i + 1 for structure i. windows:
    for each structure the inclusive (start, end) ranges of frames in which its mask is not empty.
    pixel_spacing_mm: of both axes.
    """

    frames: np.ndarray
    labels: np.ndarray
    windows: tuple[tuple[tuple[int, int], ...], ...]
    pixel_spacing_mm: float
    spec: PhantomSpec


class Course:
    """Motion of all tissue: what is seen at p in a frame was at p - offset - warp in frame 0."""

    _MODES = 3

    def __init__(self, rng: np.random.Generator, spec: PhantomSpec) -> None:
        self._motion = spec.motion
        self._phase = rng.uniform(0, 2 * math.pi)
        self._waves = rng.normal(0, 3.0 / max(spec.size), (self._MODES, 2))
        self._phases = rng.uniform(0, 2 * math.pi, (self._MODES, 2))
        self._ways = rng.normal(0, 0.6, (self._MODES, 2))
        self._periods = rng.uniform(25, 60, self._MODES)

    def offset(self, frame: float) -> np.ndarray:
        """(x, y) px that all tissue has moved by since frame 0."""
        motion = self._motion
        breath = math.sin(2 * math.pi * frame / motion.breathing_period + self._phase)
        breath -= math.sin(self._phase)
        return np.asarray(motion.drift) * frame + np.asarray(motion.breathing) * breath

    def modes(self, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        """Spatial patterns of the warp at fixed positions; empty without deformation."""
        if not self._motion.deformation:
            return []
        return [
            np.sin(np.float32(a) * x + np.float32(b) * y + np.float32(phase[0]))
            for (a, b), phase in zip(self._waves * 2 * math.pi / 3, self._phases, strict=True)
        ]

    def amplitudes(self, frame: float) -> np.ndarray:
        """(modes, 2) px: weight of each pattern in x and y."""
        swing = np.sin(2 * math.pi * frame / self._periods + self._phases[:, 1])
        return self._motion.deformation * self._ways * swing[:, None]


def _move(modes: list[np.ndarray], offset: np.ndarray, amplitudes: np.ndarray):
    """(x, y) displacement: two floats, or arrays where the warp has patterns."""
    dx, dy = np.float32(offset[0]), np.float32(offset[1])
    for mode, (ax, ay) in zip(modes, amplitudes.astype(np.float32), strict=False):
        dx, dy = dx + ax * mode, dy + ay * mode
    return dx, dy


@dataclass
class _Scene:
    """What stays the same over the frames of a clip."""

    spec: PhantomSpec
    beams: Beams
    course: Course
    shapes: list[Shape]  # distractors first
    tissue: Tissue
    speckle: Speckle
    modes: list[np.ndarray]
    gain: np.ndarray
    skin: np.ndarray
    noise: np.ndarray
    shifts: np.ndarray


def simulate(spec: PhantomSpec) -> PhantomClip:
    """Simulate a clip; the same spec gives identical arrays."""
    scene = _make_scene(spec)
    frames = np.empty((spec.frames, *spec.size), np.uint8)
    labels = np.zeros((spec.frames, *spec.size), np.uint8)
    yy, xx = np.mgrid[: spec.size[0], : spec.size[1]].astype(np.float32)
    pixel_modes = scene.course.modes(xx, yy)
    for frame in range(spec.frames):
        frames[frame] = _image(scene, frame)
        _draw_labels(labels[frame], scene, xx, yy, pixel_modes, frame)
    windows = tuple(
        _ranges((labels == number).any(axis=(1, 2)))
        for number in range(1, len(spec.structures) + 1)
    )
    return PhantomClip(frames, labels, windows, spec.pixel_spacing_mm, spec)


def _make_scene(spec: PhantomSpec) -> _Scene:
    rng = np.random.default_rng(spec.seed)
    beams = make_beams(spec)
    course = Course(rng, spec)
    drawn = spec.distractors + spec.structures
    shapes = [Shape(child, s) for child, s in zip(rng.spawn(len(drawn)), drawn, strict=True)]

    offsets = np.array([course.offset(frame) for frame in range(spec.frames)])
    low = [beams.x.min(), beams.y.min()] - offsets.max(axis=0) - spec.motion.deformation - 2
    high = [beams.x.max(), beams.y.max()] - offsets.min(axis=0) + spec.motion.deformation + 2
    tissue = make_tissue(rng, spec, beams, low, high)
    for shape in shapes:
        shape.base = float(tissue.sample(*shape.surroundings()).mean())
    speckle = Speckle(
        rng, beams.x.shape, spec.speckle_px, spec.speckle_life, spec.frames, spec.compounding
    )

    noise = noise_tile(rng, (256, 256), (0.6, 0.8)) * np.float32(10 ** (spec.noise_db / 20))
    repeats = [math.ceil(n / 256) + 1 for n in beams.x.shape]
    noise = np.tile(noise, repeats)
    shifts = rng.integers(0, 256, (spec.frames, spec.compounding, 2))
    return _Scene(
        spec, beams, course, shapes, tissue, speckle, course.modes(beams.x, beams.y),
        _gain(rng, spec, beams), _skin(rng, spec, beams), noise, shifts,
    )  # fmt: skip


def _gain(rng: np.random.Generator, spec: PhantomSpec, beams: Beams) -> np.ndarray:
    """(2, N, L) float32 dB: [0] what the receiver adds, [1] what tissue and contact take away."""
    depth = (beams.depth / beams.depth[-1])[:, None]
    lines = np.linspace(0, 1, beams.x.shape[1])
    sliders = np.interp(depth, np.linspace(0, 1, 6), rng.normal(0, 1.5, 6))
    receive = spec.gain_db + spec.attenuation_db * spec.tgc * depth + sliders
    # poor contact: smooth dark bands along the beam, stronger with depth
    wave = sum(
        rng.normal() / k**0.5 * np.cos(2 * math.pi * k * lines + rng.uniform(0, 6.3))
        for k in range(1, 9)
    )
    bands = spec.streak_db * np.clip(wave - 0.5, 0, 3) * np.clip(4 * depth, 0, 1)
    loss = spec.attenuation_db * depth + bands
    return np.stack(np.broadcast_arrays(receive, loss)).astype(np.float32)


def _skin(rng: np.random.Generator, spec: PhantomSpec, beams: Beams) -> np.ndarray:
    """(N, 1) float32 dB: reverberation in the probe's face, fixed to the probe."""
    depth = beams.depth[:, None]
    reach = rng.uniform(2, 0.05 * float(beams.depth[-1]) + 3)
    ripple = 0.6 + 0.4 * np.cos(2 * math.pi * depth / rng.uniform(4, 9))
    return (rng.uniform(0, 14) * np.exp(-((depth / reach) ** 2)) * ripple).astype(np.float32)


def _image(scene: _Scene, frame: int) -> np.ndarray:
    """(H, W) uint8."""
    spec, beams = scene.spec, scene.beams
    offset, amplitudes = scene.course.offset(frame), scene.course.amplitudes(frame)
    dx, dy = _move(scene.modes, offset, amplitudes)
    x, y = beams.x - dx, beams.y - dy

    marks = [_mark(scene, shape, x, y, frame) for shape in scene.shapes]
    marks = [mark for mark in marks if mark is not None]
    for mark in marks:  # walls push the tissue around them
        sway, swell = mark.shape.sway(frame), np.float32(1 - 1 / mark.shape.pulse(frame))
        x.ravel()[mark.where] -= mark.near * (np.float32(sway[0]) + swell * mark.dx)
        y.ravel()[mark.where] -= mark.near * (np.float32(sway[1]) + swell * mark.dy)

    level = scene.tissue.sample(x, y) + scene.skin
    loss = np.zeros_like(level)
    for mark in marks:
        _draw(level, loss, mark, beams, frame)

    power = np.exp(2 * _DB * level)
    power = ndimage.gaussian_filter1d(power, 0.8 * spec.speckle_px[1], axis=1, truncate=2.5)
    power += np.float32(10 ** (spec.haze_db / 10)) * _spread(power)
    shadow = np.cumsum(loss, axis=0, dtype=np.float32) * np.float32(beams.step)
    shadow = ndimage.uniform_filter1d(shadow, 3, axis=1)
    # smooth surfaces reflect coherently: bright echoes are less grainy
    coherent = np.clip(1 - np.float32(_DIFFUSE) / power, 0, 0.8)
    amplitude = np.sqrt(power) * np.exp(-_DB * (shadow + scene.gain[1]))
    scattered, reflected = amplitude * np.sqrt(1 - coherent), amplitude * np.sqrt(coherent)

    rows, lines = amplitude.shape
    energy = np.zeros_like(amplitude)
    speckle = _speckle(scene, marks, frame)
    for look, (top, left) in zip(speckle, scene.shifts[frame], strict=True):
        look *= scattered
        look += reflected
        look += scene.noise[top : top + rows, left : left + lines]
        energy += look.real**2 + look.imag**2
    energy /= len(speckle)
    shown = np.float32(10) * np.log10(energy + np.float32(1e-20)) + scene.gain[0]
    shown = 255 * (shown / np.float32(spec.dynamic_range_db) + np.float32(_TISSUE_SHARE))
    return beams.scan_convert(np.clip(shown, 0, 255))


def _spread(power: np.ndarray) -> np.ndarray:
    """Power smeared over a wide surrounding: side lobes and reverberation."""
    small = ndimage.uniform_filter(power[::4, ::4], (7, 15), mode="nearest")
    small = ndimage.uniform_filter(small, (5, 9), mode="nearest")
    rows, lines = power.shape
    return np.repeat(np.repeat(small, 4, axis=0), 4, axis=1)[:rows, :lines]


@dataclass
class _Mark:
    """A structure on the beam grid in one frame; arrays over the samples `where`."""

    shape: Shape
    where: np.ndarray
    dx: np.ndarray
    dy: np.ndarray
    q: np.ndarray
    angle: np.ndarray
    u: np.ndarray
    v: np.ndarray
    near: np.ndarray


def _mark(scene: _Scene, shape: Shape, x: np.ndarray, y: np.ndarray, frame: int) -> _Mark | None:
    if shape.scale(frame) == 0:
        return None
    centre = shape.centre(frame)
    reach = 1.5 * shape.reach(frame) + 8
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    where = np.flatnonzero(((dx > -reach) & (dx < reach) & (dy > -reach) & (dy < reach)).ravel())
    if where.size == 0:
        return None
    q, angle, u, v = shape.measure(x.ravel()[where], y.ravel()[where], frame)
    near = np.clip(2.5 - 1.5 * q, 0, 1)  # 1 inside, 0 from two thirds of a radius outside
    return _Mark(shape, where, dx.ravel()[where], dy.ravel()[where], q, angle, u, v, near)


def _draw(level: np.ndarray, loss: np.ndarray, mark: _Mark, beams: Beams, frame: int) -> None:
    """Put a structure into the echo level (dB) and the loss per px (dB), both (N, L)."""
    shape, where, q = mark.shape, mark.where, mark.q
    look, size = shape.structure.look, shape.scale(frame)
    axes = np.asarray(shape.structure.axes) * size
    thin = float(min(axes))
    away = (q - 1) * np.float32(math.sqrt(axes[0] * axes[1]))  # px outside the border, about
    vague = shape.around(shape.softness, mark.angle)

    # vague parts of the border: a wide ramp instead of a step
    width = 0.8 + vague * (0.35 * thin + 2)
    inside = np.clip(0.5 - away / (2 * width), 0, 1)
    inside *= np.float32(0.55 + 0.45 * size)  # a slice near the pole is half tissue
    flat = level.ravel()
    echo = np.float32(shape.base + look.echo_db) + shape.texture(mark.u, mark.v)
    here = flat[where]
    here += inside * (echo - here)

    line = where % level.shape[1]
    straight = shape.slope(mark.u, mark.v, beams.direction[0][line], beams.direction[1][line])
    half = np.float32(min(look.wall_px / 2, 0.4 * thin))
    if look.wall_db > 0:
        middle = -half if look.wall_inside else half
        present = shape.around(shape.wall, mark.angle) * (1 - 0.5 * vague)
        present *= 1 - np.float32(look.specular) * (1 - straight * straight)
        ring = np.exp(-(((away - middle) / half) ** 2)) * np.float32(0.4 + 0.6 * size)
        peak = np.float32(shape.base + look.wall_db)
        here = np.where(peak > here, here + ring * present * (peak - here), here)
    flat[where] = here

    crossed = np.float32(look.shadow_db / (2 * max(1.0, math.sqrt(axes[0] * axes[1]))))
    # beams that graze the side of a round structure are refracted away: thin edge shadows
    graze = np.clip(1 - 4 * straight, 0, 1) * (np.abs(away) < 2.5) * np.float32(0.25)
    loss.ravel()[where] += np.where(q <= 1, crossed, 0) + graze


def _speckle(scene: _Scene, marks: list[_Mark], frame: int) -> np.ndarray:
    """(looks, N, L) complex64 speckle, moved with the tissue since each field's birth."""
    beams, course = scene.beams, scene.course
    total = np.zeros((scene.spec.compounding, *beams.x.shape), np.complex64)
    for weight, number, birth in scene.speckle.parts(frame):
        dx, dy = _move(
            scene.modes,
            course.offset(frame) - course.offset(birth),
            course.amplitudes(frame) - course.amplitudes(birth),
        )
        dx, dy = (np.array(np.broadcast_to(d, beams.x.shape)) for d in (dx, dy))
        for mark in marks:
            now, then = mark.shape.shift(frame), mark.shape.shift(birth)
            swell = np.float32(1 - mark.shape.pulse(birth) / mark.shape.pulse(frame))
            dx.ravel()[mark.where] += mark.near * (np.float32(now[0] - then[0]) + swell * mark.dx)
            dy.ravel()[mark.where] += mark.near * (np.float32(now[1] - then[1]) + swell * mark.dy)
        along, across = beams.direction
        down = (dx * along + dy * across) * np.float32(1 / beams.step)
        right = (dx * across - dy * along) / beams.spacing
        for look, sum_of_fields in enumerate(total):
            sum_of_fields += np.float32(weight) * scene.speckle.field(number, look, down, right)
    return total


def _draw_labels(labels, scene: _Scene, xx, yy, modes, frame: int) -> None:
    """Exact masks of one frame into (H, W) uint8, cut to the field of view."""
    offset = scene.course.offset(frame)
    amplitudes = scene.course.amplitudes(frame)
    slack = float(np.abs(amplitudes).sum()) if modes else 0.0
    for number, shape in enumerate(scene.shapes[len(scene.spec.distractors) :], start=1):
        if shape.scale(frame) == 0:
            continue
        centre = np.asarray(shape.centre(frame)) + offset
        reach = shape.reach(frame) + slack + 2
        left, top = np.maximum(np.floor(centre - reach), 0).astype(int)
        right, bottom = np.maximum(np.ceil(centre + reach) + 1, 0).astype(int)
        box = np.s_[top:bottom, left:right]
        if xx[box].size == 0:
            continue
        dx, dy = _move([mode[box] for mode in modes], offset, amplitudes)
        q = shape.measure(xx[box] - dx, yy[box] - dy, frame)[0]
        labels[box][(q <= 1) & scene.beams.inside[box]] = number


def _ranges(present: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Inclusive (start, end) of each run of True."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return tuple((int(a), int(b) - 1) for a, b in steps.reshape(-1, 2))
