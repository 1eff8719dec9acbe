"""The executable specification of weam_ext: the same operations in plain Python loops.

Written to be read, and to be the oracle of the tests and the baseline of the benchmarks. It needs
the standard library only.
"""
