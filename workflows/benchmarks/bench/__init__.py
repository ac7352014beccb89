"""The benchmark, a module a family; `workflows/benchmarks/benchmark.py` runs them.

A family is a function ``rows(rounds) -> list[Row]``. To add one, write its module and put one word into
`FAMILIES` of `workflows/benchmarks/benchmark.py`.
"""
