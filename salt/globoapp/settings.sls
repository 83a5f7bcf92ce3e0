{% from "globoapp/settings.jinja" import app with context %}
{{ app.name }} {{ app.version or '(no version)' }} can be deployed:
  globoapp.ready:
    - failhard: False
    - name: {{ app.name }} {{ app.version or '(no version)' }} on {{ app.bind }}:{{ app.port }}
