"""What can go wrong, in the service's own words. Knows nothing of HTTP.

DigitsError
  RequestError                  what was sent cannot be understood
    MalformedRequest            no HTTP request that can be answered
    HeadTooLarge                its headers do not end
    MalformedBody               a field is missing, of the wrong shape or out of range
    MalformedParameter          of the query
    BodyTooLarge
    Stalled                     the rest of the body does not come
    BatchTooLarge
    UnsupportedMediaType        the body is of a type that carries no image
    UnsupportedEncoding         the body is compressed, or a part of another
    Unauthorized                the admin token is missing or wrong
  ImageError                    one image cannot be read; in a batch the others can
    NotAnImage                  no image at all, cut short or corrupt
    UnsupportedImage            of a format that is not read here
    TooManyPixels
    Rejected                    its answer is not accepted; see app.inference.rejection
    BlankImage
  ModelError                    a version cannot be served
    VersionNotFound
    VersionUnusable             it was asked to serve and does not load
    NotWritable                 CURRENT cannot be replaced
  RetrainingError               a job cannot be had or changed
    JobNotFound
    JobOver                     it has ended, so there is nothing to cancel
    QueueFull                   as many jobs wait as may
    CannotTrain                 there is nothing here to train with
    IdempotencyKeyReused        the key belongs to a request that asked for something else
  FeedbackNotFound              no correction has this number
  Busy                          more is asked than the service can do
    Overloaded                  as much waits as may
    TooLate                     it waited until its deadline
  Stopping                      the service was told to stop
  StartError                    a setting with which the service cannot start
  DatabaseUnavailable           what needs the database has to wait; predictions do not
    StorageFull                 nothing can be written; what is there can be read
"""


class DigitsError(Exception):
    """Base of all expected failures; the text says what to do about it and is shown to the user."""


class RequestError(DigitsError):
    """What was sent cannot be understood."""


class MalformedRequest(RequestError):
    """What came is no HTTP request that can be answered."""


class HeadTooLarge(RequestError):
    """The head of the request does not end within the limit."""


class MalformedBody(RequestError):
    """A field is missing, of the wrong shape or out of range; the text names it and what was expected."""


class MalformedParameter(RequestError):
    """A parameter of the query is none of the values that it may have; the text names them."""


class BodyTooLarge(RequestError):
    """The body is longer than the service reads."""


class Stalled(RequestError):
    """A part of the body came, and then no more; the text says how long it was waited for."""


class BatchTooLarge(RequestError):
    """More images than one call may carry."""


class UnsupportedMediaType(RequestError):
    """The body is of a type that carries no image."""


class UnsupportedEncoding(RequestError):
    """The body is compressed, or only a part of another; it would be misread."""


class Unauthorized(RequestError):
    """The admin token is missing or wrong; which of the two is not told."""


class ImageError(DigitsError):
    """One image cannot be read; in a batch the others are answered."""


class NotAnImage(ImageError):
    """The bytes are no image, or an image that is cut short or corrupt."""


class UnsupportedImage(ImageError):
    """The bytes are of a format that is not read here."""


class TooManyPixels(ImageError):
    """Width times height is over the limit; known from the header, nothing was decoded."""


class BlankImage(ImageError):
    """There is nothing on the image that could be a digit."""


class ModelError(DigitsError):
    """A version cannot be served; the text names the file and the reason."""


class VersionNotFound(ModelError):
    """No version has this number."""


class VersionUnusable(ModelError):
    """A version that was asked to serve does not load; the text names the file, below the models' folder."""


class NotWritable(ModelError):
    """CURRENT cannot be replaced: the disk is full, or the folder is not the service's to write."""


class RetrainingError(DigitsError):
    """A job cannot be had or changed."""


class JobNotFound(RetrainingError):
    """No job has this number."""


class JobOver(RetrainingError):
    """The job has ended, so there is nothing to cancel."""


class QueueFull(RetrainingError):
    """As many jobs wait as may."""


class CannotTrain(RetrainingError):
    """There is nothing here to train with; the text says what to set or install."""


class IdempotencyKeyReused(RetrainingError):
    """The key belongs to an earlier request that asked for something else."""


class FeedbackNotFound(DigitsError):
    """No correction has this number."""


class Busy(DigitsError):
    """More is asked than the service can do."""


class Overloaded(Busy):
    """As much waits as may."""

    def __init__(self) -> None:
        super().__init__("there is more to do than the service can; try again in a moment")


class TooLate(Busy):
    """It waited until its deadline without a turn."""

    def __init__(self) -> None:
        super().__init__("there was too much to do to answer in time; try again in a moment")


class Stopping(DigitsError):
    """The service was told to stop."""

    def __init__(self) -> None:
        super().__init__("the service is stopping; ask another one, or try again when it has started")


class StartError(DigitsError):
    """A setting with which the service cannot start."""


class DatabaseUnavailable(DigitsError):
    """The database does not answer; the text is for the log."""


class StorageFull(DatabaseUnavailable):
    """There is no room on the disk of the database; the text is for the log."""
