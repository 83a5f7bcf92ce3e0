{% set fit = salt['globoapp_minion.fit'](pillar.get('globoapp_code')) if 'globoapp_minion.fit' in salt else [] %}
{% if not fit %}{% from "globoapp/settings.jinja" import fit with context %}{% endif %}
include:
  - globoapp.service
{% for app in fit %}
{{ app.name }} {{ app.version }} is healthy:
  globoapp.healthy:
    - failhard: False
    - name: {{ app.bound }}
    - app: {{ app.app }}
    - require:
      - globoapp: {{ app.name }} {{ app.version }} serves
{% endfor %}
