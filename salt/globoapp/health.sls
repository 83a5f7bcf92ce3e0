{% from "globoapp/settings.jinja" import app with context %}
include:
  - globoapp.service

{{ app.name }} {{ app.version }} is healthy:
  globoapp.healthy:
    - failhard: False
    - name: {{ app.bind }}:{{ app.port }}
    - require:
      - globoapp: {{ app.name }} {{ app.version }} serves
