{% set fit = salt['globoapp_minion.fit'](pillar.get('globoapp_code')) if 'globoapp_minion.fit' in salt else [] %}
{% if not fit %}{% from "globoapp/settings.jinja" import fit with context %}{% endif %}
include:
  - globoapp.record
{% for app in fit %}
# Beacon, schedule and thresholds are in pillar. The minion takes them up when it starts and when its
# pillar is refreshed: that is what a change of them needs.
monitoring of {{ app.name }} is set down:
  file.managed:
    - failhard: False
    - name: {{ app.root }}/.globoapp/monitoring.json
    - mode: '0644'
    - contents: {{ {
        'monitor': app.monitor,
        'beacon': pillar.get('beacons', {}).get('globoapp', []),
        'schedule': pillar.get('schedule', {}),
      } | json | json }}
    - require:
      - globoapp: {{ app.name }} {{ app.version }} is recorded
{% if opts.file_client != 'local' %}{# without a master there is no minion to take it up #}
monitoring of {{ app.name }} is taken up:
  module.run:
    - failhard: False
    - globoapp_minion.take_up: []
    - onchanges:
      - file: monitoring of {{ app.name }} is set down
{% endif %}
{% endfor %}
