{% from "globoapp/settings.jinja" import fit with context %}
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
