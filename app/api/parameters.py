"""Parameters of the query, for routes that FastAPI does not parse."""

from starlette.requests import Request

from app.errors import MalformedParameter

_VALUES = {"true": True, "1": True, "false": False, "0": False}


def flag(request: Request, name: str) -> bool:
    """Whether a parameter of the query is set; without it, it is not. Raises MalformedParameter."""
    if not request.scope["query_string"]:  # as nearly always; to parse it takes as long as to read some pictures
        return False
    text = request.query_params.get(name, "false")
    try:
        return _VALUES[text.lower()]
    except KeyError:
        raise MalformedParameter(f"{name} is {text!r:.40}; send {name}=true or {name}=false, or leave it out") from None
