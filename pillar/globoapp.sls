# The pillar of every web server. It names no version and no port on purpose: the version and port deployed
# last from the command line stay, and a highstate repairs drift without changing them. pillar.example
# explains every setting.
globoapp:
  bind: 0.0.0.0
  # Thresholds of monitoring; these are the defaults. `false` switches a probe off.
  monitor:
    reminder: 0
    api: {every: 1, samples: 2, timeout: 1, latency_ms: 800}
    disk: {every: 10, samples: 2, percent: 90, clear: 85, logs_days: 14}
    cpu: {every: 5, samples: 12, percent: 95, clear: 80}
    memory: {every: 5, samples: 3, available: 10, clear: 15}

# The interval counts turns of the minion's loop, one per second; `every` above is the interval of each probe.
beacons:
  globoapp:
    - interval: 1

schedule:
  # A minion that starts with an empty cache (somebody has cleared it) has no beacon and no health check to run.
  globoapp-sync:
    function: saltutil.sync_all
    hours: 24
    run_on_start: true
    maxrunning: 1
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

# The digest of the custom code that the master serves: a minion compares it with its own to see changes.
{% if 'globoapp_minion.digest' in salt %}
globoapp_code: {{ salt['globoapp_minion.digest']() }}
{% endif %}
