base:
  'web*':
    - globoapp
  # Load balancers of this tree's own, where pillar has them; a site's own HAProxy is left alone (docs/rollout.md).
  'globoapp_balancer:*':
    - match: pillar
    - globoapp_balancer
