"""What to simulate: plain, frozen descriptions with checked values.

Lengths are pixels of the finished frame (x to the right, y down, pixel centres at integers), times
are frames, levels are decibels of amplitude relative to average tissue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..errors import InvalidValue

GEOMETRIES = ("sector", "linear", "radial")


@dataclass(frozen=True)
class Look:
    """How a kind of structure appears; a `Structure` may override the first four values.

    echo_db, wall_db: inside and wall relative to the tissue around. wall_px: full width of the
    wall. shadow_db: loss of a beam that crosses the whole structure (negative: posterior
    enhancement). wall_inside: the wall belongs to the mask (skull, epineurium) or lies around it
    (vessel lumen). specular: how much the wall fades where the beam runs along it, 0..1.
    """

    echo_db: float
    wall_db: float
    wall_px: float
    shadow_db: float
    wall_inside: bool
    specular: float


LOOKS = {
    "cyst": Look(-38.0, 12.0, 4.0, -7.0, False, 0.7),
    "hypo": Look(-12.0, 2.0, 2.5, -2.0, False, 0.5),
    "hyper": Look(9.0, 0.0, 2.0, 4.0, True, 0.3),
    "ring": Look(-9.0, 27.0, 8.0, 6.0, True, 0.75),
    "nerve": Look(-1.0, 8.0, 2.5, 1.0, True, 0.4),
}


def _check(good: bool, message: str) -> None:
    if not good:
        raise InvalidValue(message)


def _check_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    good = isinstance(value, int | float) and math.isfinite(value) and low <= value <= high
    bound = f"between {low} and {high}" if math.isfinite(high) else f"at least {low}"
    _check(good, f"{name} is {value!r}; it must be a number {bound}")


def _check_whole(name: str, value: int, low: int, high: int | None = None) -> None:
    good = isinstance(value, int) and low <= value and (high is None or value <= high)
    bound = f"of at least {low}" if high is None else f"from {low} to {high}"
    _check(good, f"{name} is {value!r}; it must be a whole number {bound}")


def _check_pair(name: str, value) -> None:
    good = isinstance(value, tuple) and len(value) == 2
    good = good and all(isinstance(v, int | float) and math.isfinite(v) for v in value)
    _check(good, f"{name} is {value!r}; it must be a tuple of two numbers (x, y)")


@dataclass(frozen=True)
class Structure:
    """One labelled structure; its mask is the inside of a smooth closed contour.

    kind: a key of `LOOKS`. centre: (x, y) at frame 0 before deformation. axes: semi-axes (along,
    across) in px. angle_deg: of the first axis from x towards y. irregularity: 0 ellipse .. 1
    lobed. bend: 0 straight .. 1 crescent. vagueness: 0 crisp .. 1 mostly without a visible border.
    dropout: share of the wall that is missing. visible: inclusive frame ranges in which the
    imaging plane cuts the structure, () for always; ranges may begin before or end after the clip.
    growth: frames from nothing to full size at each end of a range. velocity: px/frame relative to
    the tissue. wobble: px, slow sway relative to the tissue. pulse: change of size, as a share.
    pulse_period: frames. None in echo_db .. shadow_db means the value of the kind.
    """

    kind: str
    centre: tuple[float, float]
    axes: tuple[float, float]
    angle_deg: float = 0.0
    irregularity: float = 0.0
    bend: float = 0.0
    echo_db: float | None = None
    wall_db: float | None = None
    wall_px: float | None = None
    shadow_db: float | None = None
    vagueness: float = 0.3
    dropout: float = 0.1
    visible: tuple[tuple[int, int], ...] = ()
    growth: int = 6
    velocity: tuple[float, float] = (0.0, 0.0)
    wobble: float = 0.0
    pulse: float = 0.0
    pulse_period: float = 20.0

    def __post_init__(self) -> None:
        _check(self.kind in LOOKS, f"kind is {self.kind!r}; it must be one of {', '.join(LOOKS)}")
        _check_pair("centre", self.centre)
        _check_pair("axes", self.axes)
        _check(min(self.axes) >= 1, f"axes are {self.axes}; each must be at least 1 px")
        _check_pair("velocity", self.velocity)
        _check_range("angle_deg", self.angle_deg, -360, 360)
        for name in ("irregularity", "vagueness", "dropout"):
            _check_range(name, getattr(self, name), 0, 1)
        _check_range("bend", self.bend, -1, 1)
        for name in ("echo_db", "wall_db", "shadow_db"):
            if getattr(self, name) is not None:
                _check_range(name, getattr(self, name), -100, 100)
        if self.wall_px is not None:
            _check_range("wall_px", self.wall_px, 0.5, 100)
        _check_whole("growth", self.growth, 0)
        _check_range("wobble", self.wobble, 0)
        _check_range("pulse", self.pulse, 0, 0.9)
        _check_range("pulse_period", self.pulse_period, 1)
        for window in self.visible:
            good = isinstance(window, tuple) and len(window) == 2
            good = good and all(isinstance(v, int) for v in window) and window[0] <= window[1]
            message = "a range is two whole numbers (start, end) with start <= end"
            _check(good, f"visible has {window!r}; {message}")

    @property
    def look(self) -> Look:
        """The look of the kind with this structure's own values in place."""
        kind = LOOKS[self.kind]

        def own(value, default):
            return default if value is None else value

        return Look(
            own(self.echo_db, kind.echo_db),
            own(self.wall_db, kind.wall_db),
            own(self.wall_px, kind.wall_px),
            own(self.shadow_db, kind.shadow_db),
            kind.wall_inside,
            kind.specular,
        )


@dataclass(frozen=True)
class Motion:
    """Motion of all tissue in the image.

    drift: (x, y) px/frame, the probe slides. breathing: (x, y) px amplitude. breathing_period:
    frames. deformation: px amplitude of a smooth, slowly changing warp.
    """

    drift: tuple[float, float] = (0.0, 0.0)
    breathing: tuple[float, float] = (0.0, 0.0)
    breathing_period: float = 40.0
    deformation: float = 0.0

    def __post_init__(self) -> None:
        _check_pair("drift", self.drift)
        _check_pair("breathing", self.breathing)
        _check_range("breathing_period", self.breathing_period, 2)
        _check_range("deformation", self.deformation, 0)


@dataclass(frozen=True)
class PhantomSpec:
    """A whole clip.

    seed: same spec and seed, same arrays. frames: T. size: (H, W) px. structures: drawn in order,
    a later one covers an earlier one. distractors: drawn before them, without labels.
    view_angle_deg: opening of a sector. probe_radius: radius of the probe face as a share of the
    outer radius (sector, radial). zoom: field of view relative to the largest that fits; above 1
    the image cuts it.
    attenuation_db: two-way loss from the probe to the far end. tgc: share of it that time gain
    compensation restores. gain_db: overall gain. dynamic_range_db: shown range. noise_db:
    electronic noise before compensation, relative to tissue at the probe. haze_db: clutter that
    fills dark structures. streak_db: strength of dark lateral bands (poor contact, ribs).
    speckle_px: axial and lateral standard deviation of the point spread, in beam samples (about
    1 px each). speckle_life: frames until speckle has become new. compounding: independent views
    averaged in each frame; 1 keeps the Rayleigh statistics. layers: tissue layers. fibres: 0..1,
    amount of bright fascia and muscle fibres. pixel_spacing_mm: of both axes. frame_rate:
    frames/s.
    """

    seed: int = 0
    frames: int = 24
    size: tuple[int, int] = (256, 256)
    geometry: str = "sector"
    structures: tuple[Structure, ...] = ()
    distractors: tuple[Structure, ...] = ()
    motion: Motion = field(default_factory=Motion)
    view_angle_deg: float = 70.0
    probe_radius: float = 0.25
    zoom: float = 1.0
    attenuation_db: float = 40.0
    tgc: float = 0.85
    gain_db: float = 0.0
    dynamic_range_db: float = 58.0
    noise_db: float = -62.0
    haze_db: float = -23.0
    streak_db: float = 3.0
    speckle_px: tuple[float, float] = (1.0, 1.6)
    speckle_life: float = 14.0
    compounding: int = 2
    layers: int = 4
    fibres: float = 0.5
    pixel_spacing_mm: float = 0.3
    frame_rate: float = 20.0

    def __post_init__(self) -> None:
        _check_whole("seed", self.seed, 0)
        _check_whole("frames", self.frames, 1)
        good = isinstance(self.size, tuple) and len(self.size) == 2
        good = good and all(isinstance(v, int) and 32 <= v <= 2048 for v in self.size)
        _check(good, f"size is {self.size!r}; it must be (height, width), each 32 to 2048 px")
        _check(
            self.geometry in GEOMETRIES,
            f"geometry is {self.geometry!r}; it must be one of {', '.join(GEOMETRIES)}",
        )
        for name in ("structures", "distractors"):
            value = getattr(self, name)
            good = isinstance(value, tuple) and all(isinstance(s, Structure) for s in value)
            _check(good, f"{name} is {value!r}; it must be a tuple of Structure")
        count = len(self.structures)
        _check(count <= 255, f"{count} structures; labels are 8 bit, so at most 255 are possible")
        _check_range("view_angle_deg", self.view_angle_deg, 10, 170)
        _check_range("probe_radius", self.probe_radius, 0.02, 0.9)
        _check_range("zoom", self.zoom, 0.3, 2)
        _check_range("attenuation_db", self.attenuation_db, 0, 200)
        _check_range("tgc", self.tgc, 0, 1.5)
        _check_range("gain_db", self.gain_db, -60, 60)
        _check_range("dynamic_range_db", self.dynamic_range_db, 20, 120)
        _check_range("noise_db", self.noise_db, -200, 20)
        _check_range("haze_db", self.haze_db, -200, 0)
        _check_range("streak_db", self.streak_db, 0, 60)
        _check_pair("speckle_px", self.speckle_px)
        good = 0.5 <= min(self.speckle_px) and max(self.speckle_px) <= 20
        _check(good, f"speckle_px is {self.speckle_px}; each must be 0.5 to 20")
        _check_range("speckle_life", self.speckle_life, 1)
        _check_whole("compounding", self.compounding, 1, 9)
        _check_whole("layers", self.layers, 1, 20)
        _check_range("fibres", self.fibres, 0, 1)
        _check_range("pixel_spacing_mm", self.pixel_spacing_mm, 1e-4)
        _check_range("frame_rate", self.frame_rate, 1e-3)
