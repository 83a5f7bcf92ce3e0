{% set fit = salt['globoapp_minion.fit'](pillar.get('globoapp_code')) if 'globoapp_minion.fit' in salt else [] %}
{% if not fit %}{% from "globoapp/settings.jinja" import fit with context %}{% endif %}
include:
  - globoapp.app
{% if fit | selectattr('proxy') | list %}
  - globoapp.nginx
{% endif %}
{% for app in fit %}
{% if app.runs_command %}
release command of {{ app.name }} {{ app.version }} has run:
  globoapp.release_command:
    - failhard: False
    - name: '{{ app.version }}'
    - app: {{ app.app }}
    - require:
      - globoapp: {{ app.name }} {{ app.version }} is unpacked
{% endif %}

# Before anything that the deployed release reads is changed.
{{ app.name }} {{ app.version }} has passed its trial:
  globoapp.tried:
    - failhard: False
    - name: {{ app.release }}
    - app: {{ app.app }}
    - require:
      - globoapp: {{ app.name }} {{ app.version }} is unpacked
{% if app.proxy %}
      - globoapp: {{ app.name }} {{ app.version }} has its proxy checked
{% endif %}
{% if app.runs_command %}
      - globoapp: release command of {{ app.name }} {{ app.version }} has run
{% endif %}

units of {{ app.name }} are defined:
  globoapp.configured:
    - failhard: False
    - name: {{ app.name }}
    - app: {{ app.app }}
    - require:
      - globoapp: {{ app.name }} {{ app.version }} has passed its trial

{{ app.name }} {{ app.version }} serves:
  globoapp.serving:
    - failhard: False
    - name: {{ app.name }}@{{ app.release }}.service
    - app: {{ app.app }}
    - require:
      - globoapp: units of {{ app.name }} are defined
{% endfor %}
