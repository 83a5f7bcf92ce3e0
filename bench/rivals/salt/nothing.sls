# What Salt takes for an sls file: the base that bench/compare.py compares with.
nothing:
  test.nop: []
