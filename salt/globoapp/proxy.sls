{% from "globoapp/settings.jinja" import fit with context %}
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
