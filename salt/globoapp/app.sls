{% from "globoapp/settings.jinja" import app with context %}
include:
  - globoapp.packages

{{ app.name }} {{ app.version }} is unpacked:
  globoapp.release:
    - name: {{ app.root }}/{{ app.release }}
    - require:
      - sls: globoapp.packages
