# What every web server gets. Version and port are not named here on purpose: what was deployed last
# from the command line stands, and a highstate repairs it without moving it. pillar.example has every
# setting with its meaning.
globoapp:
  bind: 0.0.0.0
  # What monitoring looks for; these are the defaults. A probe that is False is off.
  monitor:
    reminder: 0
    api: {every: 1, samples: 2, timeout: 1, latency_ms: 800}
    disk: {every: 10, samples: 2, percent: 90, clear: 85, logs_days: 14}
    cpu: {every: 5, samples: 12, percent: 95, clear: 80}
    memory: {every: 5, samples: 3, available: 10, clear: 15}

# The interval counts turns of the minion's loop, a second each; how often each probe looks is above.
beacons:
  globoapp:
    - interval: 1

schedule:
  globoapp-health:
    function: globoapp.health
    kwargs: {deadline: 5, report: true}
    seconds: 60
    run_on_start: true
    maxrunning: 1
  globoapp-highstate:
    function: state.highstate
    minutes: 30
    run_on_start: false
    splay: 300
    maxrunning: 1

# What custom code the master serves, so that a server looks for changes of it by one word of its pillar.
{% if 'globoapp_minion.digest' in salt %}
globoapp_code: {{ salt['globoapp_minion.digest']() }}
{% endif %}
