{% set fit = salt['globoapp_minion.fit'](pillar.get('globoapp_code')) if 'globoapp_minion.fit' in salt else [] %}
{% if not fit %}{% from "globoapp/settings.jinja" import fit with context %}{% endif %}
include:
  - globoapp.health
{% for app in fit %}
{% if app.proxied %}
# Also where pillar has no proxy any more: then it is taken away.
{{ app.name }} {{ app.version }} has its proxy:
  globoapp.proxied:
    - failhard: False
    - name: {{ app.name }}
    - app: {{ app.app }}
    - require:
      - globoapp: {{ app.name }} {{ app.version }} is healthy
{% endif %}
{% endfor %}
