"""The web service: pictures of handwritten digits in, digits with probabilities out."""
