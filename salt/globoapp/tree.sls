{% from "globoapp/settings.jinja" import app with context %}
include:
  - globoapp.settings

# An account that is there is used as it is: this tree alters none that it has not made.
{% if not app.user_exists %}
system user {{ app.user }} exists:
  user.present:
    - failhard: False
    - name: {{ app.user }}
    - system: True
    - usergroup: True
    - home: /nonexistent
    - createhome: False
    - shell: /usr/sbin/nologin
    - require:
      - sls: globoapp.settings
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
      - sls: globoapp.settings
