"""Sanity checks: does a map depend on what the model has learnt, and on the class?"""
