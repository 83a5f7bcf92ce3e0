# The same steps in Salt's core states. Pillar: comments: version, port, path, status, text.
{% set wanted = pillar['comments'] %}
{% set root = '/opt/comments' %}
{% set release = root ~ '/releases/' ~ wanted.version %}
comments:
  user.present:
    - system: True
    - createhome: False
    - home: /nonexistent
    - shell: /usr/sbin/nologin

{{ release }}:
  archive.extracted:
    - source: salt://globoapp-{{ wanted.version }}.zip
    - source_hash: salt://globoapp-{{ wanted.version }}.zip.sha256
    - enforce_toplevel: False
    - if_missing: {{ release }}/api.py

{{ root }}/venv:
  virtualenv.managed:
    - venv_bin: /usr/bin/python3
    - requirements: {{ release }}/requirements.lock
    - no_index: True
    - find_links: file:///srv/bench/wheels
    - extra_args: ['--require-hashes']
    - require:
      - archive: {{ release }}

{{ root }}/current:
  file.symlink:
    - target: {{ release }}
    - require:
      - archive: {{ release }}

{{ root }}/gunicorn.conf.py:
  file.managed:
    - source: salt://gunicorn.conf.py

/etc/systemd/system/comments.service:
  file.managed:
    - source: salt://comments.service
    - template: jinja
    - context: {bind_port: {{ wanted.port }}}
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: /etc/systemd/system/comments.service

comments.service:
  service.running:
    - enable: True
    - require:
      - user: comments
    - watch:
      - virtualenv: {{ root }}/venv
      - file: {{ root }}/current
      - file: {{ root }}/gunicorn.conf.py
      - file: /etc/systemd/system/comments.service

http://127.0.0.1:{{ wanted.port }}{{ wanted.path }}:
  http.query:
    - status: {{ wanted.status }}
{% if wanted.status == 200 %}{# it finds nothing in the text of an error #}
    - match: '{{ wanted.text }}'
{% endif %}
    - require:
      - service: comments.service
