# The way of a deploy, in its order. With bad settings or an unfit host only the first step is there:
# it says what is wrong, and nothing is touched.
{% include "globoapp/modules.jinja" %}
include:
  - globoapp.settings
{%- if not salt['globoapp.preflight']().problems %}
  - globoapp.tree
  - globoapp.packages
  - globoapp.app
  - globoapp.service
  - globoapp.health
  - globoapp.record
  - globoapp.monitor
{%- endif %}
