{% from "globoapp/settings.jinja" import apps with context %}
{% for app in apps %}
{{ app.title }} can be deployed:
  globoapp.ready:
    - failhard: False
    - name: {{ app.name }} {{ app.version or '(no version)' }} on {{ app.bound }}
    - app: {{ app.app }}
{% endfor %}
