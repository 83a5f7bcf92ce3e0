{% from "globoapp/settings.jinja" import app with context %}
include:
  - globoapp.app

# Before anything that the deployed release reads is changed.
{{ app.name }} {{ app.version }} has passed its trial:
  globoapp.tried:
    - failhard: False
    - name: {{ app.release }}
    - require:
      - sls: globoapp.app

units of {{ app.name }} are defined:
  globoapp.configured:
    - failhard: False
    - name: {{ app.name }}
    - require:
      - globoapp: {{ app.name }} {{ app.version }} has passed its trial

{{ app.name }} {{ app.version }} serves:
  globoapp.serving:
    - failhard: False
    - name: {{ app.name }}@{{ app.release }}.service
    - require:
      - globoapp: units of {{ app.name }} are defined
