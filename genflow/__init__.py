"""genflow: generative modelling by transport.

A generative model is a velocity field, integrated over a schedule of times, with its divergence accumulated on the way.
"""
