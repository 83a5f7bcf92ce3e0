{% from "globoapp/settings.jinja" import app with context %}
include:
  - globoapp.app

gunicorn is configured for {{ app.name }}:
  file.managed:
    - name: {{ app.root }}/.globoapp/gunicorn.conf.py
    - source: salt://globoapp/files/gunicorn.conf.py
    - mode: '0644'
    - require:
      - sls: globoapp.app

{% for unit in ('@', '-candidate@', '-activate') %}
unit {{ app.name ~ unit }}.service is defined:
  file.managed:
    - name: /etc/systemd/system/{{ app.name ~ unit }}.service
    - source: salt://globoapp/files/{{ 'activate' if unit == '-activate' else 'release' }}.service.jinja
    - template: jinja
    - mode: '0644'
    - context:
        app: {{ app | json }}
        candidate: {{ unit == '-candidate@' }}
    - require:
      - sls: globoapp.app
    - require_in:
      - globoapp: {{ app.name }} {{ app.version }} is proven
{% endfor %}

{{ app.name }} {{ app.version }} is proven:
  globoapp.proven:
    - name: {{ app.release }}
    - require:
      - file: gunicorn is configured for {{ app.name }}

{{ app.name }} {{ app.version }} serves:
  globoapp.serving:
    - name: {{ app.name }}@{{ app.release }}.service
    - require:
      - globoapp: {{ app.name }} {{ app.version }} is proven
