"""The doctor: is this machine fit for runs, and what is to be done where it is not? Each file holds some checks.

A check returns findings and raises nothing. It changes nothing either, but for the probe of a store, which it removes.
"""
