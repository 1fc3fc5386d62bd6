"""Pure functions on the 21 joints of a hand and the types they share; needs JAX alone."""
