"""The training step, the loop around it, and the state that it saves."""
