"""Finds the shares that domains should have in the text of a training, from the losses of small models."""
