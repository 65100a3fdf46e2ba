"""From the bytes of a picture to the 28x28 image that the network reads; pure functions over numpy."""
