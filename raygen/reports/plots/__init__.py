"""Plots: figures as SVG, drawn once wide and once narrow."""
