# What every web server gets. Version and port are not named here on purpose: what was deployed last
# from the command line stands, and a highstate repairs it without moving it. pillar.example has every
# setting with its meaning.
globoapp:
  bind: 0.0.0.0
