"""Shapes of the networks: Meta's SAM2 and SAM2.1 in four sizes, and our small one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from ..errors import WrongCheckpoint

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Architecture:
    """Everything that decides a network's tensors and how it is used; plain values only, so that
    it travels in a checkpoint's metadata and nothing in a file is ever executed.

    image_size: pixels of the square network input; may differ from the size of training as long
        as it is a multiple of 32.
    release: "2.0" or "2.1", Meta's two wirings of the object pointers.
    boundary_points: has an embedding for boundary points beside SAM2's four point embeddings.
    primed: shape priors (spline, mask, previous frame) enter as a mask prompt and as a residual
        of the mask logits (`network.shape_prior`).
    zoom: the network sees a square crop around the structure rather than the whole frame.
    """

    embed_dim: int = 96
    num_heads: int = 1
    stages: tuple[int, ...] = (1, 2, 7, 2)
    global_att_blocks: tuple[int, ...] = (5, 7, 9)
    window_pos_embed_bkg_spatial_size: tuple[int, int] = (7, 7)
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    hidden_dim: int = 256
    memory_dim: int = 64
    memory_layers: int = 4
    memory_feedforward: int = 2048
    num_maskmem: int = 7
    image_size: int = 1024
    release: str = "2.1"
    multimask: bool = True
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    pixel_std: tuple[float, float, float] = IMAGENET_STD
    boundary_points: bool = False
    primed: bool = False
    zoom: bool = False

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Architecture:
        """Raises WrongCheckpoint for unknown, missing or ill-typed fields."""
        known = {f.name: f for f in fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise WrongCheckpoint(
                f"the checkpoint's architecture has unknown fields {unknown}; "
                "it was written by a newer version of SAMUSA"
            )
        default = cls()
        checked = {}
        for name in known:
            if name not in values:
                raise WrongCheckpoint(f"the checkpoint's architecture lacks {name!r}")
            expected, value = getattr(default, name), values[name]
            if isinstance(expected, tuple):
                number = (int, float) if isinstance(expected[0], float) else int
                fits = isinstance(value, (list, tuple)) and all(
                    isinstance(v, number) and not isinstance(v, bool) for v in value
                )
                value = tuple(value) if fits else value
            else:
                fits = type(value) is type(expected)
            if not fits:
                raise WrongCheckpoint(f"the checkpoint's architecture has {name} = {value!r}")
            checked[name] = value
        return cls(**checked)


_SIZES = {
    "tiny": {},
    "small": {"stages": (1, 2, 11, 2), "global_att_blocks": (7, 10, 13)},
    "base_plus": {
        "embed_dim": 112,
        "num_heads": 2,
        "stages": (2, 3, 16, 3),
        "global_att_blocks": (12, 16, 20),
        "window_pos_embed_bkg_spatial_size": (14, 14),
    },
    "large": {
        "embed_dim": 144,
        "num_heads": 2,
        "stages": (2, 6, 36, 4),
        "global_att_blocks": (23, 33, 43),
        "window_spec": (8, 4, 16, 8),
    },
}

ARCHITECTURES: dict[str, Architecture] = {
    f"{prefix}_hiera_{size}": Architecture(release=release, **values)
    for prefix, release in (("sam2", "2.0"), ("sam2.1", "2.1"))
    for size, values in _SIZES.items()
}

ARCHITECTURES["samusa_small"] = Architecture(
    embed_dim=32,
    stages=(1, 2, 4, 2),
    global_att_blocks=(5, 6, 8),
    window_spec=(8, 8, 8, 4),
    hidden_dim=128,
    memory_layers=2,
    memory_feedforward=512,
    num_maskmem=5,
    image_size=256,
    multimask=False,
    pixel_mean=(0.2, 0.2, 0.2),
    pixel_std=(0.2, 0.2, 0.2),
    boundary_points=True,
    primed=True,
    zoom=True,
)
