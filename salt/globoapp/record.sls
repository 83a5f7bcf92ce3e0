{% set fit = salt['globoapp_minion.fit'](pillar.get('globoapp_code')) if 'globoapp_minion.fit' in salt else [] %}
{% if not fit %}{% from "globoapp/settings.jinja" import fit with context %}{% endif %}
include:
  - globoapp.health
{% if fit | selectattr('proxied') | list %}
  - globoapp.proxy
{% endif %}
{% for app in fit %}
# No requisite: a deploy that failed is recorded too. Its place in the list puts it after the others.
{{ app.name }} {{ app.version }} is recorded:
  globoapp.recorded:
    - failhard: False
    - name: {{ app.root }}/deployments.jsonl
    - app: {{ app.app }}

{{ app.root }}/current is {{ app.name }} {{ app.version }}:
  file.symlink:
    - failhard: False
    - name: {{ app.root }}/current
    - target: {{ app.release }}
    - force: True
    - atomic: True
    - require:
      - globoapp: {{ app.name }} {{ app.version }} is healthy
{% if app.proxied %}
      - globoapp: {{ app.name }} {{ app.version }} has its proxy
{% endif %}
      - globoapp: {{ app.name }} {{ app.version }} is recorded

old releases of {{ app.name }} are pruned:
  globoapp.pruned:
    - failhard: False
    - name: {{ app.root }}
    - app: {{ app.app }}
    - require:
      - globoapp: {{ app.name }} {{ app.version }} is healthy
{% if app.proxied %}
      - globoapp: {{ app.name }} {{ app.version }} has its proxy
{% endif %}
      - globoapp: {{ app.name }} {{ app.version }} is recorded

grain {{ app.name }} says {{ app.version }}:
  grains.present:
    - failhard: False
    - name: {{ app.name }}
    - value: {{ {'version': app.version, 'port': app.port, 'bind': app.bind, 'release': app.release} | json }}
    - force: True
    - require:
      - globoapp: {{ app.name }} {{ app.version }} is healthy
{% if app.proxied %}
      - globoapp: {{ app.name }} {{ app.version }} has its proxy
{% endif %}
      - globoapp: {{ app.name }} {{ app.version }} is recorded
{% endfor %}
