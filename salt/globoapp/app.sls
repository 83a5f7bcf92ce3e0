{% from "globoapp/settings.jinja" import fit with context %}
include:
  - globoapp.packages
{% for app in fit %}
{{ app.name }} {{ app.version }} is unpacked:
  globoapp.release:
    - failhard: False
    - name: {{ app.root }}/{{ app.release }}
    - app: {{ app.app }}
    - require:
      - globoapp: packages of {{ app.name }} {{ app.version }} are installed
{% endfor %}
