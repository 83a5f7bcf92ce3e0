{% set current = 'globoapp_minion.is_current' in salt and salt['globoapp_minion.is_current'](pillar.get('globoapp_code')) %}
{% if current %}{% set apps = salt['globoapp_minion.rendered']() %}
{% else %}{% from "globoapp/settings.jinja" import apps with context %}{% endif %}
{% for app in apps %}
{% if app.by_ssh is defined %}{# salt-ssh renders this on the control machine #}
the server applies {{ app.by_ssh.name }}:
  globoapp_ssh.applied:
    - failhard: False
    - name: {{ app.by_ssh.name }}
    - call: {{ app.by_ssh.call | json }}
    - files: {{ app.by_ssh.files | json }}
{% else %}
{{ app.title }} can be deployed:
  globoapp.ready:
    - failhard: False
    - name: {{ app.name }} {{ app.version or '(no version)' }} on {{ app.bound }}
    - app: {{ app.app }}
{% endif %}
{% endfor %}
