"""What can go wrong, in the service's own words. Knows nothing of HTTP.

DigitsError
  RequestError                  what was sent cannot be understood
    MalformedBody               a field is missing, of the wrong shape or out of range
    BodyTooLarge
    BatchTooLarge
    UnsupportedMediaType        the body is of a type that carries no image
  ImageError                    one image cannot be read; in a batch the others can
    NotAnImage                  no image at all, cut short or corrupt
    UnsupportedImage            of a format that is not read here
    TooManyPixels
    BlankImage                  nothing on it that could be a digit
  ModelError                    a version cannot be served
    VersionNotFound
"""


class DigitsError(Exception):
    """Base of all expected failures; the text says what to do about it and is shown to the user."""


class RequestError(DigitsError):
    """What was sent cannot be understood."""


class MalformedBody(RequestError):
    """A field is missing, of the wrong shape or out of range; the text names it and what was expected."""


class BodyTooLarge(RequestError):
    """The body is longer than the service reads."""


class BatchTooLarge(RequestError):
    """More images than one call may carry."""


class UnsupportedMediaType(RequestError):
    """The body is of a type that carries no image."""


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
