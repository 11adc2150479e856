"""The errors a user meets. All of them are `PatchwiseError`."""


class PatchwiseError(Exception):
    """Base of every error that patchwise raises on purpose."""


class ShapeError(PatchwiseError):
    """A tensor has another shape than the function needs."""


class RangeError(PatchwiseError):
    """A value lies outside what the function can work with."""


class ChoiceError(PatchwiseError):
    """A name is none of those there are."""


class ConfigError(PatchwiseError):
    """A setting is unknown or has a value that cannot be used."""


class DataError(PatchwiseError):
    """Images or labels cannot be found, read or used."""


class WeightsError(PatchwiseError):
    """A weights file cannot be read, or does not fit the model."""


class CheckpointError(PatchwiseError):
    """A run cannot be started, continued or saved."""


class TrainingError(PatchwiseError):
    """Training reached a state from which it must not go on."""
