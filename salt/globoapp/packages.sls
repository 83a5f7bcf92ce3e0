{% from "globoapp/settings.jinja" import app with context %}
include:
  - globoapp.tree

packages of {{ app.name }} {{ app.version }} are installed:
  globoapp.virtualenv:
    - failhard: False
    - name: '{{ app.version }}'
    - require:
      - sls: globoapp.tree
