"""What a start says of itself in one line, where it cannot be."""


class ConfigurationError(ValueError):
    """Settings that do not fit together, said in one line that tells what to change."""


class StageEndedError(RuntimeError):
    """A stage that can go no further, though another start of it can, said in one line."""
