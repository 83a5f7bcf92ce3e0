{% set fit = salt['globoapp_minion.fit'](pillar.get('globoapp_code')) if 'globoapp_minion.fit' in salt else [] %}
{% if not fit %}{% from "globoapp/settings.jinja" import fit with context %}{% endif %}
include:
  - globoapp.app
{% for app in fit %}
{% if app.proxy %}
nginx of {{ app.name }} is installed:
  pkg.installed:
    - failhard: False
    - name: nginx
    - install_recommends: False
    - require:
      - globoapp: {{ app.title }} can be deployed

# Before the switch: what nginx does not take must not stop a deploy half way.
{{ app.name }} {{ app.version }} has its proxy checked:
  globoapp.proxy_checked:
    - failhard: False
    - name: {{ app.name }}
    - app: {{ app.app }}
    - require:
      - file: tree {{ app.root }} exists
      - pkg: nginx of {{ app.name }} is installed
{% endif %}
{% endfor %}
