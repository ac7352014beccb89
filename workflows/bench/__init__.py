"""The benchmark, a module a family; `workflows/benchmark.py` runs them.

A family is a function ``rows(rounds) -> list[Row]``. To add one, write its module and put one word into
`FAMILIES` of `workflows/benchmark.py`.
"""
