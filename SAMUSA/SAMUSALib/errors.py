"""Errors whose message is meant for the user: what is wrong, which value, what to do."""


class SamusaError(Exception):
    """Base of every error that SAMUSA raises on purpose; its text is one clear sentence."""


class InvalidValue(SamusaError, ValueError):
    """A value breaks a stated rule; the message names the value and the rule."""


class UnreadableFile(SamusaError):
    """A file is missing, truncated, of the wrong format or cannot be decoded."""


class UnknownModel(SamusaError, LookupError):
    """No model of that name or file."""


class WrongCheckpoint(SamusaError):
    """A checkpoint does not fit the architecture it claims, or is not a checkpoint."""


class TrainingFailed(SamusaError):
    """Training cannot go on; the last saved checkpoint is kept."""


class CannotWrite(SamusaError, OSError):
    """Output could not be written (full disk, no permission); nothing half-written is left."""


class SceneChanged(SamusaError):
    """A node or segment that was in use is no longer in the scene, or no longer what it was."""
