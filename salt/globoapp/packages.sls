{% set fit = salt['globoapp_minion.fit'](pillar.get('globoapp_code')) if 'globoapp_minion.fit' in salt else [] %}
{% if not fit %}{% from "globoapp/settings.jinja" import fit with context %}{% endif %}
include:
  - globoapp.tree
{% for app in fit %}
packages of {{ app.name }} {{ app.version }} are installed:
  globoapp.virtualenv:
    - failhard: False
    - name: '{{ app.version }}'
    - app: {{ app.app }}
    - require:
      - file: tree {{ app.root }} exists
{% for kind, account in (('group', app.new_group), ('user', app.new_user)) %}{% if account %}
      - {{ kind }}: system {{ kind }} {{ account }} exists
{% endif %}{% endfor %}
{% endfor %}
