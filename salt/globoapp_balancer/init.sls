{% import "globoapp/code.jinja" as code with context %}
{% set wanted = salt['globoapp_balancer.settings']() %}
# HAProxy before the web servers, for a site that has no load balancer of its own (docs/rollout.md).
{% if wanted.problems %}
the load balancer can be configured:
  test.fail_without_changes:
    - failhard: False
    # In a dry run Salt says something else than the comment.
    - name: {{ wanted.problems | join("; ") | yaml_dquote }}
    - comment: {{ ("Nothing was touched. To be put right first:\n  - " ~ wanted.problems | join("\n  - ")) | yaml_dquote }}
{% else %}
haproxy is installed:
  pkg.installed:
    - failhard: False
    - name: haproxy
    - install_recommends: False

haproxy.cfg has the backends of pillar:
  file.managed:
    - failhard: False
    - name: /etc/haproxy/haproxy.cfg
    - source: salt://globoapp_balancer/haproxy.cfg.jinja
    - template: jinja
    - context: {backends: {{ wanted.backends | tojson }}}
    - mode: "0644"
    # HAProxy reads it before it is put in place.
    - check_cmd: haproxy -c -f
    - require:
      - pkg: haproxy is installed

haproxy runs:
  service.running:
    - failhard: False
    - name: haproxy
    - enable: True
    # Requests under way go on in the old process; servers that were taken out are back in.
    - reload: True
    - watch:
      - file: haproxy.cfg has the backends of pillar
{% endif %}
