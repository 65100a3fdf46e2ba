"""The exceptions of the service. They know nothing of HTTP; ``api.problems`` maps them to replies.

DigitsError
  RequestError                  the request cannot be understood
    MalformedRequest            it is not a valid HTTP request
    HeadTooLarge                its headers are too large
    MalformedBody               a field is missing, of the wrong shape or out of range
    MalformedParameter          a query parameter is not valid
    BodyTooLarge
    Stalled                     the rest of the body does not arrive
    BatchTooLarge
    UnsupportedMediaType        the body's type cannot hold an image
    UnsupportedEncoding         the body is compressed, or only a part
    Unauthorized                the admin token is missing or wrong
  ImageError                    one image cannot be read; the others of a batch can
    NotAnImage                  not an image, cut short or corrupt
    UnsupportedImage            an unsupported format
    TooManyPixels
    Rejected                    its answer is not accepted; see app.inference.rejection
  ModelError                    a version cannot be served
    VersionNotFound
    VersionUnusable             the requested version cannot be loaded
    NotWritable                 CURRENT cannot be replaced
  RetrainingError               a job cannot be created, found or changed
    JobNotFound
    JobOver                     it has ended, so it cannot be cancelled
    QueueFull                   the maximum number of jobs is queued
    CannotTrain                 training data or libraries are missing
    IdempotencyKeyReused        the key belongs to a different request
  FeedbackNotFound              no correction has this number
  Busy                          the service has too much to do
    Overloaded                  its queue is full
    TooLate                     the deadline passed while it was queued
  Stopping                      the service is stopping
  StartError                    the service cannot start with these settings
  DatabaseUnavailable           the database does not answer; predictions do not need it
    StorageFull                 the database's disk is full; reading still works
"""


class DigitsError(Exception):
    """Base class of all expected failures. The text is shown to the user and explains what to do."""


class RequestError(DigitsError):
    """The request cannot be understood."""


class MalformedRequest(RequestError):
    """The bytes are not a valid HTTP request."""


class HeadTooLarge(RequestError):
    """The request line and headers are larger than the limit."""


class MalformedBody(RequestError):
    """A field is missing, of the wrong shape or out of range. The text names it and what was expected."""


class MalformedParameter(RequestError):
    """A query parameter has a value that is not allowed. The text names those that are."""


class BodyTooLarge(RequestError):
    """The body is larger than the limit."""


class Stalled(RequestError):
    """Part of the request arrived, and then no more within the timeout."""


class BatchTooLarge(RequestError):
    """There are more images than the limit for one call."""


class UnsupportedMediaType(RequestError):
    """The body's media type cannot hold an image."""


class UnsupportedEncoding(RequestError):
    """The body is compressed or only a part, so its bytes would be misread."""


class Unauthorized(RequestError):
    """The admin token is missing or wrong. The text does not tell which of the two."""


class ImageError(DigitsError):
    """One image cannot be read. In a batch the others are still answered."""


class NotAnImage(ImageError):
    """The bytes are not an image, or the image is cut short or corrupt."""


class UnsupportedImage(ImageError):
    """The image's format is not supported."""


class TooManyPixels(ImageError):
    """Width times height is over the limit. The header has both, so nothing was decoded."""


class ModelError(DigitsError):
    """A version cannot be served. The text names the file and the reason."""


class VersionNotFound(ModelError):
    """No version has this number."""


class VersionUnusable(ModelError):
    """The requested version cannot be loaded. The text names the file, relative to the models' folder."""


class NotWritable(ModelError):
    """CURRENT cannot be replaced: the disk is full, or the folder is not writable."""


class RetrainingError(DigitsError):
    """A job cannot be created, found or changed."""


class JobNotFound(RetrainingError):
    """No job has this number."""


class JobOver(RetrainingError):
    """The job has ended, so it cannot be cancelled."""


class QueueFull(RetrainingError):
    """The maximum number of jobs is queued."""


class CannotTrain(RetrainingError):
    """Training data or libraries are missing. The text names what to set or install."""


class IdempotencyKeyReused(RetrainingError):
    """The Idempotency-Key belongs to an earlier, different request."""


class FeedbackNotFound(DigitsError):
    """No correction has this number."""


class Busy(DigitsError):
    """The service has too much to do."""


class Overloaded(Busy):
    """The queue is full."""

    def __init__(self) -> None:
        super().__init__("the service has too much to do; try again in a moment")


class TooLate(Busy):
    """The deadline passed while the call was queued."""

    def __init__(self) -> None:
        super().__init__("the service had too much to do to answer in time; try again in a moment")


class Stopping(DigitsError):
    """The service is stopping."""

    def __init__(self) -> None:
        super().__init__("the service is stopping; use another one, or try again when it has restarted")


class StartError(DigitsError):
    """The service cannot start with these settings."""


class DatabaseUnavailable(DigitsError):
    """The database does not answer. The text is for the log."""


class StorageFull(DatabaseUnavailable):
    """The disk of the database is full. The text is for the log."""
