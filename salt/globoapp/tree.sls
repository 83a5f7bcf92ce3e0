{% set fit = salt['globoapp_minion.fit'](pillar.get('globoapp_code')) if 'globoapp_minion.fit' in salt else [] %}
{% if not fit %}{% from "globoapp/settings.jinja" import fit with context %}{% endif %}
include:
  - globoapp.settings
{% for app in fit %}
# What is there is used as it is: this tree alters no account and no group that it has not made.
{% if 'group' in app.makes %}
system group {{ app.new_group }} exists:
  group.present:
    - failhard: False
    - name: {{ app.new_group | tojson }}
    - system: True
    - gid: {{ app.gid or 'null' }}
    - require:
      - globoapp: {{ app.title }} can be deployed
{% endif %}
{% if 'user' in app.makes %}
system user {{ app.new_user }} exists:
  user.present:
    - failhard: False
    - name: {{ app.new_user | tojson }}
    - system: True
    - uid: {{ app.uid or 'null' }}
    - gid: {{ app.primary | tojson if app.primary else 'null' }}
    - usergroup: {{ not app.primary }}
    - home: /nonexistent
    - createhome: False
    - shell: /usr/sbin/nologin
    - require:
      - globoapp: {{ app.title }} can be deployed
{% endif %}

tree {{ app.root }} exists:
  file.directory:
    - failhard: False
    - names:
      - {{ app.root }}
      - {{ app.root }}/virtualenvs
      - {{ app.root }}/.globoapp
    - user: root
    - group: root
    - mode: '0755'
    - makedirs: True
    - require:
      - globoapp: {{ app.title }} can be deployed
{% endfor %}
