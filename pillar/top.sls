base:
  'web*':
    - globoapp
    # For settings of your site that do not belong in this repository, such as secrets: /srv/pillar/site.sls, if it exists.
    - site
    - ignore_missing: True
  'lb*':
    # What is before the web servers (docs/rollout.md): /srv/pillar/balancer.sls, if it exists.
    - balancer
    - ignore_missing: True
