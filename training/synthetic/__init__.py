"""Pictures that the program makes itself: digits, pictures without a digit, and photos of digits.

MNIST was written by Americans in the 1990s. A network that knows it alone has seldom seen a 1 with a long up-stroke, a
7 with a bar or a 4 closed to a triangle, and has never seen a picture without a digit.

``digits`` and ``ood`` are learned from. ``ood_evaluation`` and ``photos`` are for measuring only.
"""
