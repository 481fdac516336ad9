"""Sanity checks: does a method's map depend on what the model has learnt, and on the class that it explains?"""
