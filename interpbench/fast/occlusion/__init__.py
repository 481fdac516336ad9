"""Occlusion without computing again what a window cannot change."""
