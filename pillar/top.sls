base:
  'web*':
    - globoapp
    # What belongs to a site and not into this repository (secrets, say): /srv/pillar/site.sls, if there is one.
    - site
    - ignore_missing: True
