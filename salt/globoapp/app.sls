{% from "globoapp/settings.jinja" import app with context %}
include:
  - globoapp.packages

{{ app.name }} {{ app.version }} is unpacked:
  globoapp.release:
    - failhard: False
    - name: {{ app.root }}/{{ app.release }}
    - require:
      - sls: globoapp.packages
