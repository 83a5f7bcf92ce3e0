{% from "globoapp/settings.jinja" import app with context %}
include:
  - globoapp.tree

packages of {{ app.name }} {{ app.version }} are installed:
  globoapp.virtualenv:
    - name: '{{ app.version }}'
    - require:
      - sls: globoapp.tree
