{% import "globoapp/code.jinja" as code with context %}
# The manifests of a version for Kubernetes (docs/kubernetes.md): files on this machine, which kubectl or a state applies.
{% for app in salt['globoapp_minion.kubernetes']() %}
{% if app.problems %}
manifests of {{ app.title }} can be rendered:
  test.fail_without_changes:
    - failhard: False
    # In a dry run Salt says something else than the comment.
    - name: {{ app.problems | join("; ") | yaml_dquote }}
    - comment: {{ ("Nothing was touched. To be put right first:\n  - " ~ app.problems | join("\n  - ")) | yaml_dquote }}
{% else %}
{{ ("manifests of " ~ app.title ~ " are for " ~ app.why) | yaml_dquote }}:
  test.succeed_without_changes:
    - failhard: False
{% for file, wanted in app.files.items() %}
{{ app.directory }}/{{ file }}.yaml:
{% if wanted %}
  file.managed:
    - failhard: False
    - source: salt://globoapp/kubernetes/{{ file.split('/')[1] }}.yaml.jinja
    - template: jinja
    - context: {app: {{ app.app }}}
    - mode: '{{ '0600' if file == 'prepare/secret' else '0644' }}'
    - makedirs: True
    - dir_mode: '0755'
    # What changed in a secret is nobody's business.
    - show_changes: {{ file != 'prepare/secret' }}
{% else %}
  file.absent:
    - failhard: False
{% endif %}
{% endfor %}
{% endif %}
{% endfor %}
