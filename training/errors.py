"""Every expected failure of training is a ``TrainingError`` whose text says what to do."""


class TrainingError(Exception):
    """A failure that the person at the command line can mend; its text is all that they see."""


class RunInUse(TrainingError):
    """Another process trains in the same folder: the one failure that ends by itself."""
