{% set fit = salt['globoapp_minion.fit'](pillar.get('globoapp_code')) if 'globoapp_minion.fit' in salt else [] %}
{% if not fit %}{% from "globoapp/settings.jinja" import fit with context %}{% endif %}
include:
  - globoapp.packages
{% for app in fit %}
{{ app.name }} {{ app.version }} is unpacked:
  globoapp.release:
    - failhard: False
    - name: {{ app.root }}/{{ app.release }}
    - app: {{ app.app }}
    - require:
      - globoapp: packages of {{ app.name }} {{ app.version }} are installed
{% endfor %}
