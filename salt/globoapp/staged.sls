{% set fit = salt['globoapp_minion.fit'](pillar.get('globoapp_code')) if 'globoapp_minion.fit' in salt else [] %}
{% if not fit %}{% from "globoapp/settings.jinja" import fit with context %}{% endif %}
# What a rollout does on every server before any of them switches: the release is there and was seen to work. A version
# with a release command may need what that changes, so it is tried after it, in its deploy; the rollout is told of it.
include:
  - globoapp.app
{% for app in fit %}
{% if app.runs_command %}
{{ app.name }} {{ app.version }} has a release command:
  test.succeed_without_changes:
    - failhard: False
{% else %}
{{ app.name }} {{ app.version }} was tried beforehand:
  globoapp.tried:
    - failhard: False
    - name: {{ app.release }}
    - app: {{ app.app }}
    - require:
      - globoapp: {{ app.name }} {{ app.version }} is unpacked
{% endif %}
{% endfor %}
